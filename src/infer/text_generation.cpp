#include "infer/text_generation.h"

#include "base/error.h"
#include "base/json.h"
#include "infer/stop_strings.h"
#include "text/detokenizer.h"

namespace tandem {

TextGeneration generate_text(Generator& generator, const Tokenizer& tokenizer, const Prompt& prompt,
                             const GenerationOptions& options, const std::vector<std::string>& stop_strings,
                             const OnText& on_text, const std::function<bool()>& cancelled) {
  Detokenizer detokenizer(tokenizer, /*skip_special=*/true);
  StopStrings stops(stop_strings);
  TextGeneration result;
  auto emit = [&](const std::string& piece) {
    result.text += piece;
    if (!piece.empty() && on_text) on_text(piece);
  };
  auto on_token = [&](int32_t id) {
    // A model may have more ids than its tokenizer; an untrained one that is drawn stands for no text.
    if (id < tokenizer.vocab_size()) emit(stops.push(detokenizer.push(id)));
    if (stops.found()) return Next::stop;
    return cancelled && cancelled() ? Next::cancel : Next::go_on;
  };
  result.tokens = generator.run(prompt, options, on_token);
  if (!stops.found()) {
    emit(stops.push(detokenizer.finish()));
    emit(stops.finish());
    if (stops.found()) result.tokens.finish_reason = FinishReason::stop;
  }
  return result;
}

std::vector<int32_t> encode_prompt(const Tokenizer& tokenizer, std::string_view text, int32_t bos) {
  if (text.empty()) throw InputError({.what = "empty prompt", .expected = "some text to continue"});
  std::vector<int32_t> ids = tokenizer.encode(text);
  if (bos >= 0 && (ids.empty() || ids.front() != bos)) ids.insert(ids.begin(), bos);
  return ids;
}

}  // namespace tandem
