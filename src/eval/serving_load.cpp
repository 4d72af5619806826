#include "eval/serving_load.h"

#include "base/error.h"

namespace tandem {
namespace {

GenerationRequest random_request(const ModelConfig& config, const ServingScenario& scenario, uint64_t seed) {
  Rng rng(seed, 0);
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < scenario.prompt; ++i) {
    ids.push_back(static_cast<int32_t>(rng.below(static_cast<uint32_t>(config.vocab_size))));
  }
  GenerationRequest request;
  request.prompt = Prompt::continue_text(ids);
  request.options.max_tokens = scenario.written;
  return request;
}

}  // namespace

std::optional<ServingFigures> serve(Context& ctx, Model& model, const ServingScenario& scenario, const Stop& stop) {
  EngineOptions options;
  options.cache = {.bytes = scenario.cache_bytes, .encoder = EncoderState::recompute};
  options.most_sequences = scenario.requests;
  Engine engine(ctx, model, options);
  std::vector<Engine::Ticket> tickets;
  for (int64_t i = 0; i < scenario.requests; ++i) {
    tickets.push_back(engine.submit(random_request(model.config(), scenario, static_cast<uint64_t>(i + 1))));
  }
  int64_t writing_steps = 0, written = 0;
  Stopwatch watch;
  for (bool more = true; more;) {
    if (stop && stop()) return std::nullopt;
    more = engine.step();
    writing_steps += engine.statistics().written_tokens > written ? 1 : 0;
    written = engine.statistics().written_tokens;
  }
  ServingFigures figures;
  figures.seconds = watch.seconds();
  const EngineStatistics& statistics = engine.statistics();
  figures.read_seconds = statistics.read_seconds;
  figures.write_seconds = statistics.write_seconds;
  figures.read_tokens = statistics.read_tokens;
  figures.written_tokens = statistics.written_tokens;
  figures.most_sequences = statistics.most_sequences;
  figures.mean_sequences = writing_steps > 0 ? static_cast<double>(written) / static_cast<double>(writing_steps) : 0;
  for (Engine::Ticket ticket : tickets) {
    std::optional<GenerationResult> result = engine.take(ticket);
    if (result && !result->error.empty()) figures.error = result->error;
  }
  return figures;
}

SequencePages sequence_pages(const Model& model, int64_t read, int64_t written) {
  std::unique_ptr<Caches> caches =
      model.new_caches({.tokens = read + written + 4 * kPageTokens, .encoder = EncoderState::recompute});
  std::unique_ptr<State> state = model.new_state(*caches);
  if (!state->reserve(read, written)) throw LogicError({.what = "sequence_pages: no room for a sequence"});
  StateBytes reading = state->page_bytes();
  state->settle();
  return {reading.with_encoder, state->page_bytes().live};
}

}  // namespace tandem
