// Generation with text at both ends.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "infer/generator.h"
#include "text/tokenizer.h"

namespace tandem {

struct TextGeneration {
  Generation tokens;
  std::string text;  // without stop string and special tokens
};

// `on_text` receives the text in pieces, each as soon as it is certain. `cancelled` is asked after every token.
using OnText = std::function<void(std::string_view piece)>;
TextGeneration generate_text(Generator& generator, const Tokenizer& tokenizer, const Prompt& prompt,
                             const GenerationOptions& options, const std::vector<std::string>& stop_strings,
                             const OnText& on_text = {}, const std::function<bool()>& cancelled = {});

// The ids of a plain-text prompt: BOS, as at the start of every training row, then the text. `bos` < 0: none. A text
// that begins with BOS keeps the one it has. InputError when the text is empty or not UTF-8.
std::vector<int32_t> encode_prompt(const Tokenizer& tokenizer, std::string_view text, int32_t bos);

}  // namespace tandem
