#include "text/unicode.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/temporary_folder.h"
#include "text/byte_alphabet.h"
#include "text/helpers.h"

namespace tandem {
namespace {

std::string repair(std::string_view bytes) {
  Utf8Repair repair;
  std::string out;
  repair.push(bytes, out);
  repair.finish(out);
  return out;
}

TEST(Unicode, CodePointsGoThereAndBack) {
  for (uint32_t c = 0; c < 0x110000; c += c < 0x3000 ? 1 : 97) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text;
    append_code_point(text, c);
    ASSERT_EQ(valid_utf8_prefix(text), text.size()) << c;
    size_t at = 0;
    ASSERT_EQ(next_code_point(text, at), c);
    ASSERT_EQ(at, text.size());
    ASSERT_EQ(previous_start(text, at), 0u);
  }
}

TEST(Unicode, RefusesWhatIsNotUtf8) {
  // Overlong forms, surrogates, too large, continuation without beginning, cut.
  for (std::string_view bytes : {"\xC0\xAF", "\xE0\x80\xAF", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80",
                                 "\x80", "\xC3", "\xE2\x82", "\xF0\x9F\x98", "\xFF"}) {
    EXPECT_EQ(valid_utf8_prefix("abcdefgh" + std::string(bytes)), 8u);
    EXPECT_EQ(valid_utf8_prefix(std::string(bytes) + "a"), 0u);
  }
  EXPECT_EQ(test::message_of<InputError>([] { require_utf8("ab\xFF", "notes.txt"); }),
            "text is not UTF-8: notes.txt: got byte 0xFF at offset 2, expected valid UTF-8");
}

TEST(Unicode, RepairReplacesMaximalSubparts) {
  EXPECT_EQ(repair("a\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64"), "a���b�c��d");  // table 3-8 of the standard
  EXPECT_EQ(repair("\xE0\x80\x80"), "���");
  EXPECT_EQ(repair("x\xF0\x9F\x98"), "x�");
  EXPECT_EQ(repair("\xF0\x9F\x98\x80"), "😀");
}

TEST(Unicode, RepairDoesNotDependOnTheCuts) {
  Rng rng(1, 0);
  for (int round = 0; round < 2000; ++round) {
    std::string bytes;
    for (uint32_t n = rng.below(12); n > 0; --n) {
      if (rng.below(3) != 0) {
        append_code_point(bytes, test::random_code_point(rng));
      } else {
        bytes += static_cast<char>(rng.below(256));
      }
    }
    Utf8Repair pieces;
    std::string out;
    for (char byte : bytes) pieces.push(std::string_view(&byte, 1), out);
    pieces.finish(out);
    ASSERT_EQ(out, repair(bytes));
    ASSERT_EQ(valid_utf8_prefix(out), out.size());
  }
}

TEST(Unicode, Classes) {
  const CharClasses& classes = CharClasses::get();
  for (uint32_t c : {U'a', U'é', U'日', U'ª', char32_t{0x10400}, char32_t{0x2EBF0}}) EXPECT_EQ(classes.of(c), kLetter);
  for (uint32_t c : {U'0', U'½', U'Ⅷ', U'٣', char32_t{0x1D7D8}, char32_t{0x16D70}}) EXPECT_EQ(classes.of(c), kNumber);
  for (uint32_t c : {U' ', U'\t', U'\v', char32_t{0x85}, char32_t{0xA0}, char32_t{0x2028}, char32_t{0x3000}}) {
    EXPECT_EQ(classes.of(c), kWhitespace);
  }
  // U+180E, U+200B and U+FEFF look like spaces and are none.
  for (uint32_t c : {U'.', U'_', U'👍', char32_t{0x301}, char32_t{0x180E}, char32_t{0x200B}, char32_t{0xFEFF}}) {
    EXPECT_EQ(classes.of(c), kOther);
  }
}

TEST(ByteAlphabet, IsABijection) {
  const ByteAlphabet& alphabet = ByteAlphabet::get();
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  EXPECT_EQ(alphabet.decode(alphabet.encode(all)), all);
  EXPECT_EQ(alphabet.encode(" \n\tA~"), "ĠĊĉA~");
  EXPECT_EQ(alphabet.encode("é"), "Ã©");
  EXPECT_EQ(alphabet.decode("a b"), std::nullopt);
  EXPECT_EQ(alphabet.decode("日"), std::nullopt);
}

}  // namespace
}  // namespace tandem
