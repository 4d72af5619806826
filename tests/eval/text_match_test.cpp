#include "eval/text_match.h"

#include <gtest/gtest.h>

namespace tandem::test {
namespace {

using Words = std::vector<std::string>;

TEST(TextMatch, WordsAreLettersAndDigitsInLowerCase) {
  EXPECT_EQ(match_words("  The answer, Mr. O'Neil, is 3.5!\n"),
            (Words{"the", "answer", "mr", "o", "neil", "is", "3", "5"}));
  EXPECT_EQ(match_words("\xC3\x84RGER \xE2\x80\x94 \xCE\xA3"), (Words{"\xC3\xA4rger", "\xCF\x83"}));
  EXPECT_EQ(match_words(" .,; "), Words{});
}

TEST(TextMatch, ExactMatchLooksAtWordsOnly) {
  EXPECT_TRUE(exact_match(match_words("It is 42."), match_words(" it IS  42")));
  EXPECT_FALSE(exact_match(match_words("42 is it"), match_words("it is 42")));
  EXPECT_TRUE(exact_match(match_words("!"), match_words("")));
}

TEST(TextMatch, F1CountsWordsAsOftenAsTheyOccur) {
  // Three of four written words are among the five expected: 2 * 3 / (4 + 5).
  EXPECT_DOUBLE_EQ(word_f1(match_words("a a b x"), match_words("b a a c d")), 6.0 / 9);
  EXPECT_DOUBLE_EQ(word_f1(match_words("a a a"), match_words("a")), 2.0 / 4);
  EXPECT_DOUBLE_EQ(word_f1({}, {}), 1);
  EXPECT_DOUBLE_EQ(word_f1({}, {"a"}), 0);
  EXPECT_DOUBLE_EQ(word_f1({"b"}, {"a"}), 0);
}

TEST(TextMatch, RougeLTakesTheLongestCommonSubsequence) {
  // Lin 2004, section 3.1: "police killed the gunman" against two candidates.
  Words reference = match_words("police killed the gunman");
  EXPECT_DOUBLE_EQ(rouge_l(match_words("police kill the gunman"), reference), 3.0 / 4);
  EXPECT_DOUBLE_EQ(rouge_l(match_words("the gunman kill police"), reference), 2.0 / 4);
  EXPECT_DOUBLE_EQ(rouge_l({}, {}), 1);
  EXPECT_DOUBLE_EQ(rouge_l({"a"}, {}), 0);
}

}  // namespace
}  // namespace tandem::test
