// Patterns, scanners and pre-tokenizers.
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/json.h"
#include "base/temporary_folder.h"
#include "text/helpers.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"
#include "text/regex.h"
#include "text/word_splitter.h"

namespace tandem {
namespace {

using Words = std::vector<std::string>;

constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

Words cut(std::string_view text, const std::vector<TextRange>& ranges) {
  Words words;
  for (const TextRange& range : ranges) words.emplace_back(text.substr(range.begin, range.end - range.begin));
  return words;
}

Words matches(std::string_view pattern, std::string_view text) {
  return cut(text, Regex(pattern, "test").find_all(text));
}

Words split(const char* json, std::string_view text) {
  Json parsed = Json::parse(json);
  std::string file = "f.json";
  Words words;
  PreTokenizer::read(JsonNode(parsed, file, "pre_tokenizer"), true).split(text, true, [&](std::string_view word) {
    words.emplace_back(word);
  });
  return words;
}

TEST(Regex, ReadsOnigurumaClasses) {
  EXPECT_EQ(matches(R"(\s+)", "a \u3000b\u180Ec\u0085d"), (Words{" \u3000", "\u0085"}));
  EXPECT_EQ(matches(R"([^\s\p{L}]+)", "a.\u180E b"), (Words{".\u180E"}));
  EXPECT_EQ(matches(R"(\S+)", "ab c"), (Words{"ab", "c"}));
  EXPECT_EQ(matches(R"(\w+)", "e\u0301_1 -"), (Words{"e\u0301_1"}));
  EXPECT_EQ(matches(R"([\]a]+)", "x]a"), (Words{"]a"}));
  EXPECT_EQ(matches(R"([]a]+)", "x]a"), (Words{"]a"}));
  EXPECT_EQ(matches(R"([[:digit:]]+)", "x12"), (Words{"12"}));
  EXPECT_EQ(matches("^b$", "a\nb\nc"), (Words{"b"}));
}

TEST(Regex, EmptyMatchesBehindOthersDoNotCount) {
  EXPECT_EQ(Regex("a*", "test").find_all("baac"), (std::vector<TextRange>{{0, 0}, {1, 3}, {4, 4}}));
  EXPECT_EQ(Regex("x?", "test").find_all("éx"), (std::vector<TextRange>{{0, 0}, {2, 3}}));
  EXPECT_TRUE(Regex("x", "test").find_all("").empty());
}

TEST(Regex, RefusesWhatItCannotSay) {
  for (const char* pattern : {"[a-z&&[^b]]", "[a[bc]]", R"(\h+)", "(?m:a.b)", "(?im)x", R"([\S])", R"(\C)", "(", "[a",
                              "a{2", "(?<n>", "\\"}) {
    // "a{2" is text, as in the other syntax.
    if (std::string_view(pattern) == "a{2") {
      EXPECT_EQ(matches(pattern, "a{2"), Words{"a{2"});
      continue;
    }
    std::string message = test::message_of<InputError>([&] { Regex(pattern, "f.json: pattern"); });
    EXPECT_NE(message.find("f.json: pattern"), std::string::npos) << pattern << ": " << message;
  }
}

TEST(Regex, LongTextsNeedNoStack) {
  std::string text(300'000, 'a');
  auto found = Regex("(?:a|b)+", "test").find_all(text);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].end, text.size());
}

TEST(Regex, HopelessPatternsAreInputErrors) {
  std::string text = std::string(40, 'a') + "c";
  std::string message = test::message_of<InputError>([&] { Regex("(a+)+[bd]", "f.json: pattern").find_all(text); });
  EXPECT_NE(message.find("cannot be matched"), std::string::npos) << message;
}

TEST(WordSplitter, KnowsThePublishedPatterns) {
  EXPECT_TRUE(WordSplitter::for_pattern(kGpt2Pattern, "test").covers());
  EXPECT_TRUE(WordSplitter::for_pattern(kLlama3, "test").covers());
  EXPECT_FALSE(WordSplitter::for_pattern("a|b", "test").covers());
}

// Random text without the characters whose class PCRE2's Unicode version does not know.
class RandomText {
 public:
  explicit RandomText(uint64_t seed) : rng_(seed, 0) {}

  std::string next() {
    std::string text;
    for (uint32_t n = rng_.below(24); n > 0;) {
      uint32_t c = test::random_code_point(rng_);
      if (!agreed(c)) continue;
      append_code_point(text, c);
      --n;
    }
    return text;
  }

 private:
  bool agreed(uint32_t c) const {
    std::string text;
    append_code_point(text, c);
    uint8_t cls = CharClasses::get().of(c);
    return letter_.find_all(text).empty() == (cls != kLetter) && number_.find_all(text).empty() == (cls != kNumber);
  }

  Rng rng_;
  Regex letter_{"\\p{L}", "test"};
  Regex number_{"\\p{N}", "test"};
};

TEST(WordSplitter, ScannersMatchTheirPatterns) {
  std::string one_digit(kLlama3);
  one_digit.replace(one_digit.find("{1,3}"), 5, "");
  RandomText random(7);
  for (std::string_view pattern : {kGpt2Pattern, kLlama3, std::string_view(one_digit)}) {
    WordSplitter scanner = WordSplitter::for_pattern(pattern, "test");
    ASSERT_TRUE(scanner.covers());
    Regex regex(pattern, "test");
    for (int round = 0; round < 20000; ++round) {
      std::string text = random.next();
      ASSERT_EQ(cut(text, scanner.find_all(text)), cut(text, regex.find_all(text))) << pattern << "\n" << Json(text);
    }
  }
}

TEST(WordSplitter, ScannersAgreeWithPcre2AboutAssignedCharacters) {
  // All of the Basic Multilingual Plane, in one word per character class.
  Regex letter("\\p{L}", "test"), number("\\p{N}", "test"), space("\\s", "test");
  int differ = 0;
  for (uint32_t c = 1; c < 0x10000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text;
    append_code_point(text, c);
    uint8_t cls = CharClasses::get().of(c);
    differ += letter.find_all(text).empty() == (cls == kLetter) || number.find_all(text).empty() == (cls == kNumber);
    ASSERT_EQ(space.find_all(text).empty(), cls != kWhitespace) << c;
  }
  EXPECT_LT(differ, 64) << "more than the few letters that Unicode 15 and 16 added here";
}

TEST(WordSplitter, Gpt2) {
  auto words = [](std::string_view text) { return cut(text, WordSplitter::gpt2().find_all(text)); };
  EXPECT_EQ(words("Hello, I'll  go\n\n now"), (Words{"Hello", ",", " I", "'ll", " ", " go", "\n\n", " now"}));
  EXPECT_EQ(words("a's 's 'S x1½  "), (Words{"a", "'s", " '", "s", " '", "S", " x", "1½", "  "}));
  EXPECT_EQ(words(""), Words{});
}

TEST(PreTokenizer, Behaviors) {
  // The examples of the library's documentation.
  auto by_dash = [](const char* behavior) {
    Json json = {{"type", "Split"}, {"pattern", {{"String", "-"}}}, {"behavior", behavior}, {"invert", false}};
    return split(json.dump().c_str(), "the-final--countdown");
  };
  EXPECT_EQ(by_dash("Removed"), (Words{"the", "final", "countdown"}));
  EXPECT_EQ(by_dash("Isolated"), (Words{"the", "-", "final", "-", "-", "countdown"}));
  EXPECT_EQ(by_dash("MergedWithPrevious"), (Words{"the-", "final-", "-", "countdown"}));
  EXPECT_EQ(by_dash("MergedWithNext"), (Words{"the", "-final", "-", "-countdown"}));
  EXPECT_EQ(by_dash("Contiguous"), (Words{"the", "-", "final", "--", "countdown"}));
}

TEST(PreTokenizer, Kinds) {
  EXPECT_EQ(split(R"({"type": "Digits", "individual_digits": true})", "a12 3"), (Words{"a", "1", "2", " ", "3"}));
  EXPECT_EQ(split(R"({"type": "Digits", "individual_digits": false})", "a12 3"), (Words{"a", "12", " ", "3"}));
  EXPECT_EQ(split(R"({"type": "Whitespace"})", "Hey, you! 1"), (Words{"Hey", ",", "you", "!", "1"}));
  EXPECT_EQ(split(R"({"type": "WhitespaceSplit"})", " Hey, you"), (Words{"Hey,", "you"}));
  EXPECT_EQ(split(R"({"type": "CharDelimiterSplit", "delimiter": "-"})", "a--b c"), (Words{"a", "b c"}));
  EXPECT_EQ(split(R"({"type": "Punctuation"})", "Hey, $x"), (Words{"Hey", ",", " ", "$", "x"}));
  EXPECT_EQ(split(R"({"type": "Metaspace", "replacement": "_"})", "a bc"), (Words{"_a", "_bc"}));
  EXPECT_EQ(split(R"({"type": "Metaspace", "replacement": "_", "prepend_scheme": "never", "split": false})", "a b"),
            (Words{"a_b"}));
  EXPECT_EQ(split(R"({"type": "ByteLevel", "add_prefix_space": true, "use_regex": false})", "a b"), (Words{" a b"}));
  EXPECT_EQ(split(R"({"type": "Sequence", "pretokenizers": [
                       {"type": "ByteLevel", "add_prefix_space": true}, {"type": "WhitespaceSplit"}]})",
                  "a é"),
            (Words{"Ġa", "ĠÃ©"}));
}

TEST(Normalizer, ForwardsWhereTheTextBegins) {
  auto begins = [](const char* json, std::string_view text) {
    Json parsed = Json::parse(json);
    std::string file = "f.json";
    bool at_start = true;
    Normalizer::read(JsonNode(parsed, file, "normalizer")).apply(text, &at_start);
    return at_start;
  };
  EXPECT_TRUE(begins(R"({"type": "Strip", "strip_left": true, "strip_right": true})", "a "));
  EXPECT_FALSE(begins(R"({"type": "Strip", "strip_left": true, "strip_right": true})", " a"));
  EXPECT_FALSE(begins(R"({"type": "StripAccents"})", "\u0301a"));
  EXPECT_TRUE(begins(R"({"type": "Replace", "pattern": {"String": "a"}, "content": "xy"})", "ab"));
  EXPECT_FALSE(begins(R"({"type": "Replace", "pattern": {"String": "ab"}, "content": "x"})", "ab"));
  EXPECT_FALSE(begins(R"({"type": "Replace", "pattern": {"String": "a"}, "content": ""})", "ab"));
  EXPECT_FALSE(begins(R"({"type": "Nmt"})",
                      "\x01"
                      "a"));
  // What is put in front of the first character comes from there, too.
  EXPECT_TRUE(begins(R"({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": " "},
                         {"type": "Strip", "strip_left": true, "strip_right": true}]})",
                     "a"));
  EXPECT_FALSE(begins(R"({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": " "},
                          {"type": "Strip", "strip_left": true, "strip_right": true}]})",
                      " a"));
}

TEST(Normalizer, Kinds) {
  auto normalized = [](const char* json, std::string_view text) {
    Json parsed = Json::parse(json);
    std::string file = "f.json";
    return Normalizer::read(JsonNode(parsed, file, "normalizer")).apply(text);
  };
  EXPECT_EQ(normalized(R"({"type": "Nmt"})",
                       "a\tb\u200D\x01"
                       "c\u2581\x7F\u0085"),
            "a b c \u0085");
  EXPECT_EQ(normalized(R"({"type": "Lowercase"})", "\u0130\uA7CB\u1C89\U00010D50\U00016EB8\u03A3"),
            "i\u0307\u0264\u1C8A\U00010D70\U00016ED3\u03C3");
}

TEST(Normalizer, NormalFormsOfPartsEqualThoseOfTheWhole) {
  // ASCII is skipped and the rest is normalized run by run: the result must not depend on it.
  EXPECT_EQ(unicode_normal_form("e\u0301 x\u0301\u0323y", true, false), "\u00E9 x\u0323\u0301y");
  EXPECT_EQ(unicode_normal_form("\u00E9a", false, false), "e\u0301a");
  EXPECT_EQ(unicode_normal_form("①ﬁ", true, true), "1fi");
  EXPECT_EQ(unicode_normal_form("ab", true, true), "ab");
  // U+32FF came with Unicode 12.1 and stays, as in the reference library.
  EXPECT_EQ(unicode_normal_form("\u32FF", true, true), "\u32FF");
  Rng rng(3, 0);
  for (int round = 0; round < 3000; ++round) {
    std::string text = test::random_text(rng, 12);
    for (bool compatibility : {false, true}) {
      std::string composed = unicode_normal_form(text, true, compatibility);
      ASSERT_EQ(unicode_normal_form(composed, true, compatibility), composed);
      ASSERT_EQ(unicode_normal_form(unicode_normal_form(text, false, compatibility), true, compatibility), composed);
    }
  }
}

}  // namespace
}  // namespace tandem
