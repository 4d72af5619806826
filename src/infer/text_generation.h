// Generation with text at both ends.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "infer/engine.h"
#include "infer/generator.h"
#include "infer/text_stream.h"
#include "text/tokenizer.h"

namespace tandem {

struct TextGeneration {
  Generation tokens;
  std::string text;                // without stop string and special tokens
  std::vector<Generation> others;  // of a beam search, behind the best
  PromptLogProbabilities prompt;
  int64_t reused_tokens = 0;  // of the prompt, which were read before
};

// `cancelled` is asked before every pass, of the prompt as well.
TextGeneration generate_text(Generator& generator, const Tokenizer& tokenizer, const Prompt& prompt,
                             const GenerationOptions& options, const std::vector<std::string>& stop_strings,
                             const OnText& on_text = {}, const std::function<bool()>& cancelled = {});

// A text by an engine, which does not read again what earlier prompts began with.
struct EngineText {
  TextGeneration written;
  int64_t reused_tokens = 0;       // of the prompt
  double first_token_seconds = 0;  // from the request to the first token; 0: none was written
  StateBytes cache;                // pages that the sequence held at its end
};

// One request, on its own or beside others that were submitted before. `cancelled` is asked before every step, while
// the prompt is read too. InputError as Engine::submit(), and when the request fails.
EngineText generate_text(Engine& engine, const Tokenizer& tokenizer, const Prompt& prompt,
                         const GenerationOptions& options, const std::vector<std::string>& stop_strings,
                         const OnText& on_text = {}, const std::function<bool()>& cancelled = {});

// The ids of a plain-text prompt: BOS, as at the start of every training row, then the text. `bos` < 0: none. A text
// that begins with BOS keeps the one it has. InputError when the text is empty or not UTF-8.
std::vector<int32_t> encode_prompt(const Tokenizer& tokenizer, std::string_view text, int32_t bos);

}  // namespace tandem
