#include "infer/engine.h"

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "infer/folding.h"

namespace tandem {

Engine::Engine(Context& ctx, Model& model, const EngineOptions& options)
    : model_(model),
      options_(options),
      tape_(ctx, model.parameters().precision(), Tape::Mode::no_grad),
      caches_(model.new_caches(options.cache)),
      logits_(DType::f32, {options.most_sequences, model.config().vocab_size}) {
  sequences_.reserve(static_cast<size_t>(options.most_sequences));
  if (options.reuse_prefixes && !options.prefix_folder.empty()) {
    store_ = std::make_unique<PrefixStore>(model, options.prefix_folder, options.prefix_bytes);
  }
}

Engine::~Engine() {
  try {
    save_prefixes();
  } catch (const std::exception& e) {
    log::warn("prefixes are not saved: {}", e.what());
  }
}

void Engine::save_prefixes() {
  if (store_) store_->save(prefixes_);
}

void Engine::check(const GenerationRequest& asked) const {
  check_generation(model_.config(), asked.prompt, asked.options);
  const int64_t width = asked.options.beams.width;
  if (asked.completions < 1 || (width > 0 && asked.completions > 1)) {
    throw InputError({.what = "number of completions",
                      .got = fmt::format("{}", asked.completions),
                      .expected = width > 0 ? "1: a beam search gives its best texts" : "at least 1"});
  }
  if (width > options_.most_sequences) {
    throw InputError({.what = "beam search too wide",
                      .got = fmt::format("{}", width),
                      .expected = fmt::format("at most {} sequences", options_.most_sequences)});
  }
  if (asked.options.prompt_log_probabilities && !model_.reads_in_pieces()) {
    throw InputError({.what = "no log-probabilities of the prompt from a model that reads it in both directions",
                      .expected = "a model that reads in one"});
  }
}

Engine::Ticket Engine::submit(GenerationRequest asked) {
  check(asked);
  auto request = std::make_unique<Request>();
  request->ticket = next_ticket_++;
  request->asked = std::move(asked);
  request->fold = request->asked.options.fold.value_or(options_.fold);
  if (request->fold == kFoldByCost) request->fold = fold_by_cost(fold_costs(model_), most_tokens(*request));
  const BeamOptions& beams = request->asked.options.beams;
  request->result.completions.resize(static_cast<size_t>(beams.width > 0 ? beams.best : request->asked.completions));
  for (Generation& each : request->result.completions) each.prompt_tokens = request->asked.prompt.tokens();
  queue_.push_back(std::move(request));
  return queue_.back()->ticket;
}

int64_t Engine::writers() const {
  auto count = static_cast<int64_t>(sequences_.size());
  for (const Search& search : searches_) count += static_cast<int64_t>(search.beams.size());
  return count;
}

int64_t Engine::most_tokens(const Request& request) const {
  int64_t room = model_.config().max_seq_len - request.asked.prompt.tokens();
  return std::min(request.asked.options.max_tokens, room);
}

bool Engine::cancelled(const Request& request) const {
  return request.asked.cancelled && request.asked.cancelled->load(std::memory_order_relaxed);
}

bool Engine::step() {
  drop_cancelled();
  finish_requests();
  while (!queue_.empty() && admit(*queue_.front())) {
    reading_.push_back(std::move(queue_.front()));
    queue_.pop_front();
  }
  if (!queue_.empty() && reading_.empty() && writing_.empty()) {
    // Everything is free, and it is still not enough.
    fail(*queue_.front(), "the caches have no room for this request");
    writing_.push_back(std::move(queue_.front()));
    queue_.pop_front();
  }
  if (reading_.empty() && writing_.empty()) return !queue_.empty();
  ++statistics_.steps;
  start_completions();
  statistics_.most_sequences = std::max(statistics_.most_sequences, writers());
  Stopwatch watch;
  int64_t written = write_sequences();
  statistics_.write_seconds += watch.restart();
  drop_cancelled();
  int64_t budget = std::max(options_.step_tokens - written, kPageTokens);
  read_prompts(budget - measure_prompts(budget));
  statistics_.read_seconds += watch.seconds();
  start_completions();
  finish_requests();
  return !queue_.empty() || !reading_.empty() || !writing_.empty();
}

std::optional<GenerationResult> Engine::take(Ticket ticket) {
  auto found = std::find_if(ended_.begin(), ended_.end(), [&](const auto& each) { return each.first == ticket; });
  if (found == ended_.end()) return std::nullopt;
  GenerationResult result = std::move(found->second);
  ended_.erase(found);
  return result;
}

GenerationResult Engine::wait(Ticket ticket) {
  while (true) {
    if (auto result = take(ticket)) return std::move(*result);
    if (!step()) {
      if (auto result = take(ticket)) return std::move(*result);
      throw LogicError({.what = "wait for a request that is not there", .got = fmt::format("ticket {}", ticket)});
    }
  }
}

void Engine::drop_cancelled() {
  auto drop = [&](std::deque<std::unique_ptr<Request>>& from) {
    for (auto& request : from) {
      if (!cancelled(*request)) continue;
      for (Generation& each : request->result.completions) each.finish_reason = FinishReason::cancelled;
      request->started = request->asked.completions;
      request->prompt.reset();
      request->measuring.reset();
      writing_.push_back(std::move(request));
    }
    std::erase(from, nullptr);
  };
  drop(queue_);
  drop(reading_);
  for (auto& request : writing_) {
    if (!cancelled(*request)) continue;
    for (int64_t c = request->started; c < request->asked.completions; ++c) {
      request->result.completions[static_cast<size_t>(c)].finish_reason = FinishReason::cancelled;
    }
    request->started = request->asked.completions;
    request->prompt.reset();
  }
  for (Sequence& sequence : sequences_) {
    if (cancelled(*sequence.request)) end(sequence, FinishReason::cancelled);
  }
  for (Search& search : searches_) {
    if (!cancelled(*search.request)) continue;
    for (Generation& each : search.request->result.completions) each.finish_reason = FinishReason::cancelled;
    leave(search);
  }
  drop_ended();
}

void Engine::drop_ended() {
  std::erase_if(sequences_, [](const Sequence& sequence) { return !sequence.state; });
  std::erase_if(searches_, [](const Search& search) { return search.beams.empty(); });
}

bool Engine::reserve(const Request& request, State& state, int64_t read, int64_t write) {
  while (true) {
    // What is written will be read when it is folded; where writing is reading that is one room.
    bool room =
        request.fold > 0 ? state.reserve_read(read + write) && state.reserve_write(write) : state.reserve(read, write);
    if (room) return true;
    if (!prefixes_.evict()) return false;
    ++statistics_.evicted_prefixes;
  }
}

PrefixTree::Match Engine::find_prefix(std::span<const int32_t> ids) {
  PrefixTree::Match match = prefixes_.find(ids);
  const PrefixStore::Entry* stored = store_ ? store_->find(ids, match.tokens) : nullptr;
  if (!stored) return match;
  std::vector<int32_t> stored_ids = stored->ids;
  auto make_room = [&] {
    statistics_.evicted_prefixes += prefixes_.states() > 0 ? 1 : 0;
    return prefixes_.evict();
  };
  std::unique_ptr<State> state = store_->load(*stored, *caches_, make_room);
  if (!state) return match;
  ++statistics_.loaded_prefixes;
  prefixes_.insert(stored_ids, std::move(state));
  PrefixTree::Match loaded = prefixes_.find(ids);
  return loaded.tokens > match.tokens ? std::move(loaded) : std::move(match);
}

// For what a completion may still write, of which `written` tokens are there.
bool Engine::reserve_rest(const Request& request, State& state, int64_t written) {
  return reserve(request, state, 0, most_tokens(request) - written);
}

// Room for the whole prompt and one completion is taken at once: what has begun can be finished.
bool Engine::admit(Request& request) {
  const std::vector<int32_t>& ids = request.asked.prompt.read;
  PrefixTree::Match match;
  if (options_.reuse_prefixes) match = find_prefix(ids);
  std::unique_ptr<State> state = match.state ? std::move(match.state) : model_.new_state(*caches_);
  auto tokens = static_cast<int64_t>(ids.size());
  request.at_once = tokens <= options_.step_tokens && request.fold <= 0 && match.tokens == 0 && state->read_at_once();
  if (!reserve(request, *state, tokens - match.tokens, most_tokens(request))) return false;
  if (request.asked.options.prompt_log_probabilities && tokens > 0) {
    std::unique_ptr<State> measuring = model_.new_state(*caches_);
    if (!reserve(request, *measuring, 0, tokens)) return false;
    request.measuring = std::move(measuring);
  }
  request.prompt = std::move(state);
  request.read = match.tokens;
  request.result.reused_tokens = match.tokens;
  request.clock.restart();
  statistics_.reused_tokens += match.tokens;
  statistics_.prefix_hits += match.tokens > 0 ? 1 : 0;
  return true;
}

int64_t Engine::read_prompts(int64_t budget) {
  pieces_.clear();
  int64_t left = budget;
  for (auto& request : reading_) {
    const std::vector<int32_t>& ids = request->asked.prompt.read;
    // Where both directions are read a prompt is one piece whatever the budget.
    int64_t rest = static_cast<int64_t>(ids.size()) - request->read;
    int64_t count = model_.reads_in_pieces() && !request->at_once ? std::min(rest, left) : rest;
    if (rest > 0 && (left <= 0 || count <= 0)) break;
    if (request->at_once && count > left && !pieces_.empty()) break;
    left -= count;
    if (count > 0) {
      pieces_.push_back({request->prompt.get(),
                         std::span(ids).subspan(static_cast<size_t>(request->read), static_cast<size_t>(count))});
    }
    request->read += count;
  }
  tape_.reset();
  model_.read(tape_, pieces_);
  statistics_.read_tokens += budget - left;
  while (!reading_.empty() && !reading_.front()->measuring &&
         reading_.front()->read == static_cast<int64_t>(reading_.front()->asked.prompt.read.size())) {
    Request& request = *reading_.front();
    if (request.prompt->resting()) {  // awake once for all completions
      tape_.reset();
      model_.wake(tape_, *request.prompt);
    }
    request.prompt->settle();
    if (options_.reuse_prefixes && request.read > 0) {
      prefixes_.insert(request.asked.prompt.read, request.prompt->fork());
    }
    double seconds = request.clock.seconds();
    for (Generation& each : request.result.completions) each.prefill_seconds = seconds;
    writing_.push_back(std::move(reading_.front()));
    reading_.pop_front();
  }
  return budget - left;
}

void Engine::start_completions() {
  for (auto& request : writing_) {
    bool searches = request->asked.options.beams.width > 0;
    while (request->started < request->asked.completions &&
           (searches ? start_search(*request) : start_completion(*request))) {
    }
    // First come, first served: what comes later would take the room.
    if (request->started < request->asked.completions) return;
  }
}

// Steps that follow do not ask for memory.
void Engine::make_room(Sequence& sequence, Generation& generation) const {
  const GenerationOptions& options = sequence.request->asked.options;
  auto tokens = static_cast<size_t>(most_tokens(*sequence.request));
  sequence.history.reserve(sequence.history.size() + tokens);
  sequence.draft.reserve(static_cast<size_t>(options.speculation.draft));
  generation.ids.reserve(tokens);
  if (options.sampling.log_probabilities) generation.log_probabilities.reserve(tokens);
  if (options.sampling.top_log_probabilities > 0) generation.top_log_probabilities.reserve(tokens);
}

bool Engine::start_completion(Request& request) {
  if (writers() >= options_.most_sequences) return false;
  const GenerationRequest& asked = request.asked;
  bool last = request.started + 1 == asked.completions;
  std::unique_ptr<State> state = last ? std::move(request.prompt) : request.prompt->fork();
  if (!reserve_rest(request, *state, 0)) {
    if (writers() > 0) {  // which will end and leave room
      if (last) request.prompt = std::move(state);
      return false;
    }
    request.result.error = "the caches have no room for all completions of this request";
    ++request.started;
    return true;
  }
  SamplingOptions sampling = asked.options.sampling;
  sampling.seed += static_cast<uint64_t>(request.started);
  sequences_.push_back({&request, request.started, std::move(state), Sampler(sampling), asked.prompt.ids(), {}, {}});
  make_room(sequences_.back(), request.result.completions[static_cast<size_t>(request.started)]);
  ++request.started;
  ++request.running;
  return true;
}

void Engine::end(Sequence& sequence, FinishReason reason) {
  Generation& generation = sequence.request->result.completions[static_cast<size_t>(sequence.completion)];
  generation.finish_reason = reason;
  generation.decode_seconds = sequence.clock.seconds();
  --sequence.request->running;
  sequence.request->result.cache = sequence.state->page_bytes();
  // Where writing is reading, the answer is part of the next turn's prefix.
  State& state = *sequence.state;
  if (options_.reuse_prefixes && state.written() > 0 && state.unread_block().empty()) {
    state.close_block();
    state.keep_read(state.length());  // and no room for more
    prefixes_.insert(std::span(sequence.history).first(static_cast<size_t>(state.length())), std::move(sequence.state));
  }
  sequence.state.reset();
}

void Engine::fail(Sequence& sequence, const std::string& error) {
  sequence.request->result.error = error;
  end(sequence, FinishReason::cancelled);
}

void Engine::fail(Request& request, const std::string& error) {
  request.result.error = error;
  request.started = request.asked.completions;
  request.prompt.reset();
  request.measuring.reset();
}

void Engine::finish_requests() {
  for (auto& request : writing_) {
    if (request->started < request->asked.completions || request->running > 0) continue;
    ended_.emplace_back(request->ticket, std::move(request->result));
    request.reset();
  }
  std::erase(writing_, nullptr);
}

}  // namespace tandem
