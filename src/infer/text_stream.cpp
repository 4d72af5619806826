#include "infer/text_stream.h"

#include <utility>

namespace tandem {

TextStream::TextStream(const Tokenizer& tokenizer, const std::vector<std::string>& stop_strings, OnText on_text)
    : tokenizer_(tokenizer),
      detokenizer_(tokenizer, /*skip_special=*/true),
      stops_(stop_strings),
      on_text_(std::move(on_text)) {}

void TextStream::emit(const std::string& piece) {
  text_ += piece;
  if (!piece.empty() && on_text_) on_text_(piece);
}

Next TextStream::push(int32_t id) {
  // A model may have more ids than its tokenizer; an untrained one that is drawn stands for no text.
  if (id < tokenizer_.vocab_size()) emit(stops_.push(detokenizer_.push(id)));
  return stops_.found() ? Next::stop : Next::go_on;
}

FinishReason TextStream::finish(FinishReason reason) {
  if (stops_.found()) return FinishReason::stop;
  emit(stops_.push(detokenizer_.finish()));
  emit(stops_.finish());
  return stops_.found() ? FinishReason::stop : reason;
}

}  // namespace tandem
