#include "base/error.h"

#include <gtest/gtest.h>

namespace tandem {
namespace {

TEST(OneLine, JoinsThePartsThatAreThere) {
  EXPECT_EQ(
      one_line({.what = "unknown key", .where = "a.toml:3", .got = "'stepz'", .expected = "a key", .hint = "steps?"}),
      "unknown key: a.toml:3: got 'stepz', expected a key; steps?");
  EXPECT_EQ(one_line({.what = "missing tensor", .where = "m", .expected = "'w'"}), "missing tensor: m: expected 'w'");
  EXPECT_EQ(one_line({.what = "disk full"}), "disk full");
}

TEST(OneLine, EscapesWhatWouldBreakTheLine) {
  EXPECT_EQ(one_line({.what = "bad", .got = "a\nb\tc\x1b[31m\x7f\r"}), "bad: got a\\nb\\tc\\x1b[31m\\x7f\\x0d");
}

TEST(OneLine, KeepsUtf8AndCutsLongPartsBetweenCharacters) {
  EXPECT_EQ(one_line({.what = "Größe"}), "Größe");
  for (int lead = 0; lead < 4; ++lead) {
    std::string text(static_cast<size_t>(lead), 'x');
    for (int i = 0; i < 500; ++i) text += "\u20ac";  // three bytes each
    std::string line = one_line({.what = text});
    ASSERT_TRUE(line.ends_with("...")) << lead;
    line.resize(line.size() - 3);
    EXPECT_LE(line.size(), 400u);
    EXPECT_GE(line.size(), 394u);
    EXPECT_EQ((line.size() - static_cast<size_t>(lead)) % 3, 0u) << "cut inside a character";
  }
}

TEST(Errors, CarryTheLine) {
  Problem problem{.what = "no", .where = "here"};
  EXPECT_STREQ(InputError(problem).what(), "no: here");
  EXPECT_STREQ(JobError(problem).what(), "no: here");
  EXPECT_STREQ(LogicError(problem).what(), "no: here");
}

}  // namespace
}  // namespace tandem
