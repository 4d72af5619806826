// The pass of a step that writes.
#include <algorithm>

#include "base/error.h"
#include "infer/engine.h"
#include "infer/lookup.h"

namespace tandem {

Tensor Engine::logits_of(int64_t rows) {
  int64_t vocabulary = model_.config().vocab_size;
  if (rows > logits_.tensor().rows()) logits_ = Storage(DType::f32, {rows, vocabulary});
  return logits_.tensor().slice_rows(0, rows);
}

std::span<const float> Engine::row_of(const Tensor& logits, int64_t row) const {
  return {logits.row<float>(row), static_cast<size_t>(model_.config().vocab_size)};
}

int64_t Engine::write_sequences() {
  fold_blocks();
  pieces_.clear();
  int64_t rows = 0, proposals = std::max<int64_t>(options_.step_tokens - writers(), 0);
  for (Sequence& sequence : sequences_) {
    propose(sequence, proposals);
    proposals -= static_cast<int64_t>(sequence.draft.size());
    size_t count = 1 + sequence.draft.size();
    sequence.history.insert(sequence.history.end(), sequence.draft.begin(), sequence.draft.end());
    pieces_.push_back({sequence.state.get(), std::span(sequence.history).last(count)});
    rows += static_cast<int64_t>(count);
  }
  for (Search& search : searches_) {
    for (int64_t beam = 0; beam < search.search.live(); ++beam) {
      const Search::Beam& each = search.beams[static_cast<size_t>(beam)];
      pieces_.push_back({each.state.get(), std::span(each.history).last(1)});
      ++rows;
    }
  }
  if (rows == 0) return 0;
  tape_.reset();
  Tensor logits = logits_of(rows);
  model_.write(tape_, pieces_, logits);
  int64_t row = 0;
  for (Sequence& sequence : sequences_) {
    auto count = static_cast<int64_t>(1 + sequence.draft.size());
    accept(sequence, logits, row);
    row += count;
  }
  for (Search& search : searches_) {
    int64_t live = search.search.live();
    follow(search, logits, row);
    row += live;
  }
  drop_ended();
  return rows;
}

// Room to read all that is written was taken with the room to write it, and the pages that the block gives back are
// still free afterwards.
void Engine::fold_block(const Request& request, State& state, int64_t written) {
  if (request.fold <= 0 || state.written() < request.fold) return;
  if (state.unread_block().empty()) return;  // writing is reading
  tape_.reset();
  model_.fold(tape_, state);
  state.settle();
  if (!reserve_rest(request, state, written)) throw InputError({.what = "the caches have no room for this request"});
}

void Engine::fold_blocks() {
  for (Sequence& sequence : sequences_) {
    const Request& request = *sequence.request;
    try {
      fold_block(request, *sequence.state,
                 static_cast<int64_t>(sequence.history.size()) - request.asked.prompt.tokens());
    } catch (const InputError& e) {
      fail(sequence, e.what());
    }
  }
  for (Search& search : searches_) {
    try {
      for (int64_t beam = 0; beam < search.search.live(); ++beam) {
        State& state = *search.beams[static_cast<size_t>(beam)].state;
        fold_block(*search.request, state, static_cast<int64_t>(search.search.ids(beam).size()));
      }
    } catch (const InputError& e) {
      fail(search, e.what());
    }
  }
  drop_ended();
}

void Engine::propose(Sequence& sequence, int64_t most) {
  const GenerationRequest& asked = sequence.request->asked;
  const SpeculationOptions& options = asked.options.speculation;
  sequence.draft.clear();
  if (options.draft == 0) return;
  int64_t written = static_cast<int64_t>(sequence.history.size()) - asked.prompt.tokens();
  // The last token that may be written needs no proposal behind it, and a block is closed where it would be without.
  most = std::min({most, options.draft, most_tokens(*sequence.request) - written - 1});
  if (sequence.request->fold > 0) most = std::min(most, sequence.request->fold - sequence.state->written() - 1);
  propose_by_lookup(sequence.history, options, most, sequence.draft);
}

// Takes the token that follows, and as long as it is the one proposed, the next one. The sampler sees what it would see
// without proposals: the true history, the same logits, the same random numbers.
void Engine::accept(Sequence& sequence, const Tensor& logits, int64_t row) {
  const auto proposed = static_cast<int64_t>(sequence.draft.size());
  Generation& generation = sequence.request->result.completions[static_cast<size_t>(sequence.completion)];
  sequence.history.resize(sequence.history.size() - sequence.draft.size());
  std::optional<FinishReason> ended;
  std::string error;
  int64_t taken = 0, agreed = 0;
  try {
    while (!ended && taken == agreed && taken <= proposed) {
      ended = choose(sequence, row_of(logits, row + taken));
      ++taken;
      if (taken <= proposed && sequence.history.back() == sequence.draft[static_cast<size_t>(agreed)]) ++agreed;
    }
  } catch (const InputError& e) {
    error = e.what();
  }
  ++generation.passes;
  generation.proposed_tokens += proposed;
  generation.accepted_tokens += agreed;
  statistics_.proposed_tokens += proposed;
  statistics_.accepted_tokens += agreed;
  statistics_.written_tokens += std::max<int64_t>(taken, 1);
  // The state holds all tokens but the last; where none could be chosen, all.
  sequence.state->unwrite(1 + proposed - std::max<int64_t>(taken, 1));
  if (!error.empty()) return fail(sequence, error);
  if (ended) return end(sequence, *ended);
  // Pages that were given back with tokens are still free.
  int64_t written = static_cast<int64_t>(sequence.history.size()) - sequence.request->asked.prompt.tokens();
  if (proposed >= taken && !reserve_rest(*sequence.request, *sequence.state, written)) {
    fail(sequence, "the caches have no room for this request");
  }
}

std::optional<FinishReason> Engine::choose(Sequence& sequence, std::span<const float> logits) {
  const GenerationRequest& asked = sequence.request->asked;
  Generation& generation = sequence.request->result.completions[static_cast<size_t>(sequence.completion)];
  int32_t id = sequence.sampler.next(logits, sequence.history, static_cast<size_t>(asked.prompt.tokens()));
  sequence.history.push_back(id);
  generation.ids.push_back(id);
  if (asked.options.sampling.log_probabilities) {
    generation.log_probabilities.push_back(sequence.sampler.log_probability());
  }
  if (asked.options.sampling.top_log_probabilities > 0) {
    auto top = sequence.sampler.top();
    generation.top_log_probabilities.emplace_back(top.begin(), top.end());
  }
  Next next = asked.on_token ? asked.on_token(sequence.completion, id) : Next::go_on;
  const std::vector<int32_t>& eos = asked.options.eos;
  if (std::find(eos.begin(), eos.end(), id) != eos.end()) return FinishReason::eos;
  if (next != Next::go_on) return next == Next::stop ? FinishReason::stop : FinishReason::cancelled;
  if (static_cast<int64_t>(generation.ids.size()) == asked.options.max_tokens) return FinishReason::length;
  if (static_cast<int64_t>(sequence.history.size()) == model_.config().max_seq_len) return FinishReason::context;
  return std::nullopt;
}

}  // namespace tandem
