#include <gtest/gtest.h>

#include <functional>
#include <set>

#include "base/error.h"
#include "infer/grammar_check.h"
#include "infer/grammar_reader.h"
#include "text/unicode.h"

namespace tandem::test {
namespace {

// All texts up to a length over an alphabet that satisfy a test.
std::set<std::string> all_texts(const std::string& alphabet, size_t longest,
                                const std::function<bool(const std::string&)>& good) {
  std::set<std::string> found;
  std::vector<std::string> level{""};
  for (size_t length = 0; length <= longest; ++length) {
    std::vector<std::string> next;
    for (const std::string& text : level) {
      if (good(text)) found.insert(text);
      for (char c : alphabet) next.push_back(text + c);
    }
    level = std::move(next);
  }
  return found;
}

std::set<std::string> accepted(const std::string& grammar, const std::string& alphabet, size_t longest) {
  GrammarCheck check(read_grammar(grammar, "test"));
  return all_texts(alphabet, longest, [&](const std::string& text) { return check.accepts(text); });
}

std::string refusal(const std::string& grammar) {
  try {
    Automaton automaton(read_grammar(grammar, "test.gbnf"));
  } catch (const InputError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(CodeSet, SequencesAreTheUtf8OfTheSetAndNothingElse) {
  Rng rng(5, 0);
  const std::vector<uint32_t> borders{0,      0x7F,   0x80,   0x7FF,   0x800,   0xFFF,   0x1000,
                                      0xD7FF, 0xE000, 0xFFFF, 0x10000, 0x3FFFF, 0x40000, 0x10FFFF};
  auto near_border = [&] {
    uint32_t c = borders[rng.below(static_cast<uint32_t>(borders.size()))] + rng.below(200);
    return std::min(c < 100 ? 0u : c - 100, kLastCodePoint);
  };
  for (int round = 0; round < 300; ++round) {
    std::vector<CodeRange> ranges;
    for (uint32_t i = rng.below(4); i > 0; --i) {
      uint32_t a = near_border(), b = near_border();
      ranges.push_back({std::min(a, b), std::max(a, b)});
    }
    CodeSet set = make_code_set(ranges), others = complement(set);
    auto in = [](const CodeSet& s, uint32_t c) {
      return std::any_of(s.begin(), s.end(), [&](CodeRange r) { return r.first <= c && c <= r.last; });
    };
    auto sequences = utf8_sequences(set);
    for (int i = 0; i < 200; ++i) {
      uint32_t c = near_border();
      bool surrogate = c >= 0xD800 && c <= 0xDFFF;
      bool listed = std::any_of(ranges.begin(), ranges.end(), [&](CodeRange r) { return r.first <= c && c <= r.last; });
      ASSERT_EQ(in(set, c), listed && !surrogate);
      ASSERT_EQ(in(others, c), !listed && !surrogate);
      if (surrogate) continue;
      std::string utf8;
      append_code_point(utf8, c);
      auto matches = std::count_if(sequences.begin(), sequences.end(), [&](const std::vector<ByteRange>& sequence) {
        return std::equal(utf8.begin(), utf8.end(), sequence.begin(), sequence.end(), [](char byte, ByteRange range) {
          return range.first <= static_cast<uint8_t>(byte) && static_cast<uint8_t>(byte) <= range.last;
        });
      });
      ASSERT_EQ(matches, listed ? 1 : 0) << c;
    }
  }
}

TEST(Grammar, LiteralsAlternativesAndRepetitions) {
  using Set = std::set<std::string>;
  EXPECT_EQ(accepted("root ::= \"ab\" | \"a\"", "ab", 4), (Set{"ab", "a"}));
  EXPECT_EQ(accepted("root ::= \"a\"? \"b\"+", "ab", 3), (Set{"b", "bb", "bbb", "ab", "abb"}));
  EXPECT_EQ(accepted("root ::= \"a\"{2} | \"b\"{1,2}", "ab", 4), (Set{"aa", "b", "bb"}));
  EXPECT_EQ(accepted("root ::= \"a\"{3,}", "ab", 5), (Set{"aaa", "aaaa", "aaaaa"}));
  EXPECT_EQ(accepted("root ::= \"a\"{0} \"b\"{0,1}", "ab", 3), (Set{"", "b"}));
  EXPECT_EQ(accepted("root ::= (\"a\" | \"\")* \"b\"", "ab", 3), (Set{"b", "ab", "aab"}));
  EXPECT_EQ(accepted("root ::= [^b-z] \"\\x62\"", "abc", 3), (Set{"ab"}));
  EXPECT_EQ(accepted("root ::= (\"a\"?)* | (\"b\"*)+", "ab", 2), (Set{"", "a", "aa", "b", "bb"}));
}

TEST(Grammar, RulesOverSeveralLines) {
  EXPECT_EQ(accepted("# texts\nroot ::= x   # one\n  | y\nx ::= (\n  \"a\"\n  \"b\"\n)\r\ny ::=\n \"b\" |\n \"bb\"\n",
                     "ab", 3),
            (std::set<std::string>{"ab", "b", "bb"}));
}

TEST(Grammar, RecursionIsBalanced) {
  auto balanced = [](const std::string& text) {
    int depth = 0;
    for (char c : text) {
      if ((depth += c == '(' ? 1 : -1) < 0) return false;
    }
    return depth == 0;
  };
  auto expected = all_texts("()", 12, balanced);
  EXPECT_EQ(accepted("root ::= (\"(\" root \")\")*", "()", 12), expected);
  EXPECT_EQ(accepted("root ::= \"(\" root \")\" root | \"\"", "()", 12), expected);
  auto palindrome = [](const std::string& t) { return std::equal(t.begin(), t.end(), t.rbegin()); };
  EXPECT_EQ(accepted("root ::= \"a\" root \"a\" | \"b\" root \"b\" | [ab]?", "ab", 9), all_texts("ab", 9, palindrome));
}

TEST(Grammar, TailRecursionNeedsNoStack) {
  GrammarCheck check(read_grammar("root ::= [a-z] root | \"!\"", "test"));
  std::string text(100000, 'x');
  EXPECT_EQ(check.after(text), check.after("x"));
  EXPECT_TRUE(check.accepts(text + "!"));
}

TEST(Grammar, CharactersAreUtf8) {
  GrammarCheck check(read_grammar("root ::= [\u00e4-\u00fc\U0001F600] . \"\\u20AC\"", "test"));
  EXPECT_TRUE(check.accepts("\u00f6x\u20ac"));
  EXPECT_TRUE(check.accepts("\U0001F600\u65e5\u20ac"));
  EXPECT_TRUE(check.begins("\xc3"));
  EXPECT_TRUE(check.begins("\u00f6\xf0\x9f"));
  EXPECT_FALSE(check.begins("\u00f6\xed\xa0"));  // a surrogate
  EXPECT_FALSE(check.begins("\u00f6\xc0"));      // an overlong form
  EXPECT_FALSE(check.begins("\u00f6\xff"));
  EXPECT_FALSE(check.begins("z"));
}

TEST(Grammar, UnreachableEndsAreLeftOut) {
  // "b" leads to a rule that never ends.
  GrammarCheck check(read_grammar("root ::= \"a\" | \"b\" endless\nendless ::= \"x\" endless", "test"));
  EXPECT_TRUE(check.accepts("a"));
  EXPECT_FALSE(check.begins("b"));
}

TEST(Grammar, RefusalsNameThePlace) {
  struct Case {
    std::string grammar;
    std::vector<std::string> words;
  };
  const std::vector<Case> cases{
      {"", {"rule that is not defined", "root"}},
      {"root ::= a", {"test.gbnf:1:10", "'a'", "not defined"}},
      {"root ::= \"x\"\nroot ::= \"y\"", {"test.gbnf:2:1", "twice"}},
      {"root ::= \"x", {"test.gbnf:1:12", "the end"}},
      {"root ::= [b-a]", {"test.gbnf:1:11", "range"}},
      {"root ::= [ab", {"']'"}},
      {"root ::= (\"a\"", {"')'"}},
      {"root ::= \"a\")", {"test.gbnf:1:13", "')'"}},
      {"root ::= \"\\q\"", {"test.gbnf:1:12", "'q'"}},
      {"root ::= \"\\uD800\"", {"U+D800"}},
      {"root ::= \"a\"{3,2}", {"{3,2}"}},
      {"root ::= \"a\"{99999999}", {"repetitions"}},
      {"root = \"a\"", {"'::='"}},
      {"root ::= root \"a\" | \"a\"", {"left recursion", "rule 'root'"}},
      {"root ::= x\nx ::= \"\" y\ny ::= \"b\"? x \"a\" | \"c\"", {"left recursion"}},
      {"root ::= \"a\" root", {"no text can satisfy", "rule 'root'"}},
      {"root ::= \"a\" x\nx ::= \"b\" y\ny ::= [] \"c\"", {"no text can satisfy", "rule 'y'"}},
      {"root ::= ((\"a\"{1000}){1000}){1000}", {"too large"}},
      {"root ::= \"\xff\"", {"UTF-8"}},
      {"root ::= " + std::string(1000, '(') + "\"a\"" + std::string(1000, ')'), {"nested too deeply"}},
  };
  for (const Case& c : cases) {
    std::string line = refusal(c.grammar);
    EXPECT_EQ(line.find('\n'), std::string::npos);
    for (const std::string& word : c.words) EXPECT_NE(line.find(word), std::string::npos) << c.grammar << ": " << line;
  }
}

TEST(Grammar, AmbiguityWithoutEndIsRefusedAndNotFollowed) {
  // Every byte doubles the ways.
  GrammarCheck check(read_grammar("root ::= \"a\" root \"b\" | \"a\" root [bc] | \"a\" (root) [bd] | \"a\"", "test"));
  EXPECT_THROW(check.begins(std::string(60, 'a')), InputError);
  EXPECT_TRUE(check.accepts("aab"));
}

}  // namespace
}  // namespace tandem::test
