// Beam searches: they write in the passes of all others, and fork and drop states between them.
#include <algorithm>

#include "base/error.h"
#include "infer/engine.h"

namespace tandem {

// Room for all beams is taken at once, so that what has begun can be finished: a beam that takes another one's place
// needs no more than that one held.
bool Engine::start_search(Request& request) {
  const GenerationOptions& options = request.asked.options;
  if (writers() + options.beams.width > options_.most_sequences) return false;
  std::vector<Search::Beam> beams;
  bool room = true;
  for (int64_t i = 1; i < options.beams.width && room; ++i) {
    beams.push_back({request.prompt->fork(), {}, {}});
    room = reserve_rest(request, *beams.back().state, 0);
  }
  if (!room || !reserve_rest(request, *request.prompt, 0)) {
    if (writers() > 0) return false;  // which will end and leave room
    fail(request, "the caches have no room for all beams of this request");
    return true;
  }
  beams.insert(beams.begin(), Search::Beam{std::move(request.prompt), ConstraintState(options.sampling.constraint),
                                           request.asked.prompt.ids()});
  bool by_length = most_tokens(request) == options.max_tokens;
  Sampler sampler(options.sampling);
  BeamSearch search(options.beams, options.eos, most_tokens(request),
                    by_length ? FinishReason::length : FinishReason::context, sampler.scores_never_positive());
  searches_.push_back({&request, std::move(search), std::move(sampler), std::move(beams), {}});
  ++request.started;
  ++request.running;
  return true;
}

void Engine::follow(Search& search, const Tensor& logits, int64_t row) {
  const GenerationRequest& asked = search.request->asked;
  const SamplingOptions& sampling = asked.options.sampling;
  auto prompt_tokens = static_cast<size_t>(asked.prompt.tokens());
  try {
    for (int64_t beam = 0; beam < search.search.live(); ++beam) {
      const Search::Beam& each = search.beams[static_cast<size_t>(beam)];
      std::span<const float> own = row_of(logits, row + beam);
      auto scores = search.sampler.scores(own, each.history, prompt_tokens, each.constraint);
      BeamSearch::Measured measured;
      if (sampling.log_probabilities) measured = {own, search.sampler.log_sum(), {}};
      measured.top.assign(search.sampler.top().begin(), search.sampler.top().end());
      search.search.offer(scores, std::move(measured));
      ++statistics_.written_tokens;
    }
    auto origins = search.search.advance();
    if (search.search.done()) return end(search);
    regroup(search, origins);
  } catch (const InputError& e) {
    fail(search, e.what());
  }
}

// The first beam that goes on from another takes its state, those behind it get forks.
void Engine::regroup(Search& search, std::span<const BeamSearch::Origin> origins) {
  std::vector<Search::Beam>& old = search.beams;
  std::vector<Search::Beam> next(old.size());
  std::vector<size_t> first(old.size(), old.size());  // of each old beam, the new one that takes its state
  for (size_t i = 0; i < origins.size(); ++i) {
    auto from = static_cast<size_t>(origins[i].beam);
    if (first[from] == old.size()) {
      first[from] = i;
    } else {
      next[i].state = old[from].state->fork();
    }
    next[i].constraint = old[from].constraint;
    if (next[i].constraint.active()) next[i].constraint.accept(origins[i].id);
    next[i].history = old[from].history;
    next[i].history.push_back(origins[i].id);
  }
  size_t idle = origins.size();
  for (size_t from = 0; from < old.size(); ++from) {
    if (first[from] < old.size()) {
      next[first[from]].state = std::move(old[from].state);
    } else if (idle < next.size()) {
      next[idle++].state = std::move(old[from].state);
    }
  }
  old = std::move(next);
  for (size_t i = 0; i < origins.size(); ++i) {
    auto written = static_cast<int64_t>(search.search.ids(static_cast<int64_t>(i)).size());
    if (!reserve_rest(*search.request, *old[i].state, written)) {
      throw InputError({.what = "the caches have no room for this request"});
    }
  }
}

void Engine::end(Search& search) {
  Request& request = *search.request;
  std::vector<Generation>& completions = request.result.completions;
  Generation common = completions.front();
  common.decode_seconds = search.clock.seconds();
  completions = search.search.take_best();
  if (completions.empty()) {
    request.result.error = "no text is possible";
    common.finish_reason = FinishReason::cancelled;
    completions.push_back(common);
  }
  for (size_t c = 0; c < completions.size(); ++c) {
    Generation& text = completions[c];
    text.prompt_tokens = common.prompt_tokens;
    text.prefill_seconds = common.prefill_seconds;
    text.decode_seconds = common.decode_seconds;
    text.passes = static_cast<int64_t>(text.ids.size());
    for (size_t i = 0; request.asked.on_token && i < text.ids.size(); ++i) {
      Next next = request.asked.on_token(static_cast<int64_t>(c), text.ids[i]);
      if (next == Next::go_on) continue;
      text.finish_reason = next == Next::stop ? FinishReason::stop : FinishReason::cancelled;
      text.ids.resize(i + 1);
      text.log_probabilities.resize(std::min(text.log_probabilities.size(), i + 1));
      text.top_log_probabilities.resize(std::min(text.top_log_probabilities.size(), i + 1));
    }
  }
  leave(search);
}

void Engine::fail(Search& search, const std::string& error) {
  search.request->result.error = error;
  for (Generation& each : search.request->result.completions) each.finish_reason = FinishReason::cancelled;
  leave(search);
}

void Engine::leave(Search& search) {
  --search.request->running;
  search.beams.clear();
}

}  // namespace tandem
