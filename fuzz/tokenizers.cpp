// tokenizer.json and SentencePiece .model.
#include <cstdlib>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "targets.h"
#include "text/detokenizer.h"
#include "text/encoder.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

namespace tandem::fuzz {
namespace {

// A little of everything: contractions, digits, runs of spaces, combining marks, CJK, emoji, controls, U+2581, special
// tokens.
constexpr std::string_view kTexts[] = {
    "Hello, world! It's 2024, and they'll DON'T.\n\n\tdef f(x):  return x  ",
    "na\u00EFve cafe\u0301 \u00C5ngstr\u00F6m \uFB01ne \u1E9B\u0323 \u0130 \u2167\u00BD\u0663",
    "\u65E5\u672C\u8A9E\u3002 \uD55C\uAD6D\uC5B4 \u0E44\u0E17\u0E22 \u05E2\u05D1 \u0939\u093F\u0928\u094D\u0926\u0940",
    "\U0001F468\u200D\U0001F469\u200D\U0001F467 \U0001F1E9\U0001F1EA \u2581\u2581x\u2581 \uFEFF\uFFFD\x01\r\n\u0085",
    "<s> </s> <unk> <|endoftext|> <0x41> aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    " ",
    "a",
    "",
};

void require(bool good) {
  if (!good) std::abort();
}

void check_decoding(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  for (bool skip_special : {false, true}) {
    std::string text = tokenizer.decode(ids, skip_special);
    require(valid_utf8_prefix(text) == text.size());
    Detokenizer detokenizer(tokenizer, skip_special);
    std::string pieces;
    for (int32_t id : ids) {
      pieces += detokenizer.push(id);
      require(valid_utf8_prefix(pieces) == pieces.size());
    }
    require(pieces + detokenizer.finish() == text);
  }
}

void use(const Tokenizer& tokenizer) {
  Encoder encoder(tokenizer);
  for (std::string_view text : kTexts) {
    try {
      std::vector<int32_t> ids = tokenizer.encode(text);
      require(encoder.encode(text) == ids);
      for (int32_t id : ids) require(id >= 0 && id < tokenizer.vocab_size());
      check_decoding(tokenizer, ids);
      check_decoding(tokenizer, tokenizer.encode(text, true));
      tokenizer.encode_plain(text);
    } catch (const InputError&) {
    }
  }
  std::vector<int32_t> all;
  for (int32_t id = 0; id < tokenizer.vocab_size() && all.size() < 600; ++id) {
    try {
      tokenizer.id_to_token(id);
      all.push_back(id);
    } catch (const InputError&) {
    }
  }
  try {
    check_decoding(tokenizer, all);
  } catch (const InputError&) {
  }
}

void run(std::string_view bytes, const char* where, TokenizerFormat format) {
  try {
    use(Tokenizer::parse(bytes, where, format));
  } catch (const InputError&) {
  }
}

}  // namespace

void tokenizer_json(std::string_view bytes) { run(bytes, "tokenizer.json", TokenizerFormat::json); }
void sentencepiece(std::string_view bytes) { run(bytes, "tokenizer.model", TokenizerFormat::sentencepiece); }

}  // namespace tandem::fuzz
