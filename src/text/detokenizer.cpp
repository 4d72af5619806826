#include "text/detokenizer.h"

#include "text/tokenizer_impl.h"

namespace tandem {

Detokenizer::Detokenizer(const Tokenizer& tokenizer, bool skip_special)
    : tokenizer_(&tokenizer), skip_special_(skip_special), stream_(tokenizer.impl_->decoder) {}

std::string Detokenizer::push(int32_t id) {
  const Tokenizer::Impl& parts = *tokenizer_->impl_;
  parts.check_id(id);
  std::string text;
  if (!skip_special_ || !parts.special[static_cast<size_t>(id)]) {
    stream_.push(parts.decoding[static_cast<size_t>(id)], text);
  }
  return text;
}

std::string Detokenizer::finish() {
  std::string text;
  stream_.finish(text);
  stream_ = DecodeStream(tokenizer_->impl_->decoder);
  return text;
}

}  // namespace tandem
