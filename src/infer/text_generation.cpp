#include "infer/text_generation.h"

#include <atomic>
#include <iterator>
#include <memory>
#include <utility>

#include "base/clock.h"
#include "base/error.h"

namespace tandem {

TextGeneration generate_text(Generator& generator, const Tokenizer& tokenizer, const Prompt& prompt,
                             const GenerationOptions& options, const std::vector<std::string>& stop_strings,
                             const OnText& on_text, const std::function<bool()>& cancelled) {
  TextStream stream(tokenizer, stop_strings, on_text);
  auto on_token = [&](int32_t id) { return stream.push(id); };
  GenerationResult all = generator.run_all(prompt, options, on_token, cancelled);
  TextGeneration result;
  result.tokens = std::move(all.completions.front());
  result.others.assign(std::make_move_iterator(all.completions.begin() + 1),
                       std::make_move_iterator(all.completions.end()));
  result.prompt = std::move(all.prompt);
  result.reused_tokens = all.reused_tokens;
  result.tokens.finish_reason = stream.finish(result.tokens.finish_reason);
  result.text = stream.text();
  return result;
}

EngineText generate_text(Engine& engine, const Tokenizer& tokenizer, const Prompt& prompt,
                         const GenerationOptions& options, const std::vector<std::string>& stop_strings,
                         const OnText& on_text, const std::function<bool()>& cancelled) {
  TextStream stream(tokenizer, stop_strings, on_text);
  EngineText text;
  Stopwatch clock;
  bool first = true;
  auto stop = std::make_shared<std::atomic<bool>>(false);
  GenerationRequest request{.prompt = prompt, .options = options, .on_token = {}, .cancelled = stop};
  request.on_token = [&](int64_t, int32_t id) {
    if (std::exchange(first, false)) text.first_token_seconds = clock.seconds();
    return stream.push(id);
  };
  Engine::Ticket ticket = engine.submit(std::move(request));
  std::optional<GenerationResult> result;
  try {
    while (!(result = engine.take(ticket))) {
      if (cancelled && cancelled()) stop->store(true);
      engine.step();
    }
  } catch (...) {  // of on_text: what the request would call is gone
    stop->store(true);
    throw;
  }
  if (!result->error.empty()) throw InputError({.what = result->error});
  text.written.tokens = std::move(result->completions.front());
  text.written.tokens.finish_reason = stream.finish(text.written.tokens.finish_reason);
  text.written.text = stream.text();
  text.reused_tokens = result->reused_tokens;
  text.cache = result->cache;
  return text;
}

std::vector<int32_t> encode_prompt(const Tokenizer& tokenizer, std::string_view text, int32_t bos) {
  if (text.empty()) throw InputError({.what = "empty prompt", .expected = "some text to continue"});
  std::vector<int32_t> ids = tokenizer.encode(text);
  if (bos >= 0 && (ids.empty() || ids.front() != bos)) ids.insert(ids.begin(), bos);
  return ids;
}

}  // namespace tandem
