// Text out of tokens while they are being written.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "infer/generation.h"
#include "infer/stop_strings.h"
#include "text/detokenizer.h"
#include "text/tokenizer.h"

namespace tandem {

// Receives a text in pieces, each as soon as it is certain: whole characters that cannot become part of a stop string.
using OnText = std::function<void(std::string_view piece)>;

class TextStream {
 public:
  // The tokenizer must outlive the stream. InputError for an empty stop string.
  TextStream(const Tokenizer& tokenizer, const std::vector<std::string>& stop_strings, OnText on_text);

  // Next::stop when a stop string is complete. Special tokens, and ids that the tokenizer lacks, stand for no text.
  Next push(int32_t id);
  // What was held back; FinishReason::stop instead of `reason` where a stop string was found.
  FinishReason finish(FinishReason reason);

  const std::string& text() const { return text_; }  // so far, without the stop string

 private:
  void emit(const std::string& piece);

  const Tokenizer& tokenizer_;
  Detokenizer detokenizer_;
  StopStrings stops_;
  OnText on_text_;
  std::string text_;
};

}  // namespace tandem
