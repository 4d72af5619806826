// Text of tokens while they are being generated.
#pragma once

#include <cstdint>
#include <string>

#include "text/decoder.h"
#include "text/tokenizer.h"

namespace tandem {

// push() returns the text that has become certain; the beginning of a character whose other bytes have not come yet,
// and what a later token may still change, wait. All of push() and finish() together are Tokenizer::decode() of the
// ids.
class Detokenizer {
 public:
  // The tokenizer must outlive the detokenizer, and stay where it is.
  explicit Detokenizer(const Tokenizer& tokenizer, bool skip_special = false);

  // InputError for an id outside the vocabulary; the state is then as before.
  std::string push(int32_t id);
  // The rest. Afterwards the detokenizer is ready for another text.
  std::string finish();

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_;
  DecodeStream stream_;
};

}  // namespace tandem
