#include "infer/constraint.h"

#include <gtest/gtest.h>

#include <functional>
#include <thread>

#include "base/error.h"
#include "infer/allocations.h"
#include "infer/grammar_check.h"
#include "infer/grammar_reader.h"
#include "infer/json_schema.h"
#include "infer/sampler.h"
#include "text/bpe_trainer.h"

namespace tandem::test {
namespace {

std::shared_ptr<const Constraint> compile(const std::string& grammar,
                                          std::shared_ptr<const ConstraintVocabulary> vocabulary) {
  return std::make_shared<Constraint>(read_grammar(grammar, "test"), std::move(vocabulary));
}

const std::vector<std::string> kTokens{"ab",    "abc",    "bc", "ca",  "aa", "(a", "a)", "))", "((", "\xc3",
                                       "\xa4x", "\u00e4", "ab", "b)a", "c(", ")(", ")c", "\n", "cc", "bb"};

TEST(Constraint, TheMaskIsWhatEveryTokenByItselfWouldSay) {
  auto vocabulary = byte_vocabulary(kTokens);
  for (const char* text : {"root ::= [abc]* (\"(\" root \")\" [abc]*)*", "root ::= \"ab\"+ \"c\"? | [^a]{2,3}",
                           "root ::= (\"a\" | \"\u00e4\") . \"x\"*"}) {
    Grammar grammar = read_grammar(text, "test");
    GrammarCheck check(grammar);
    auto constraint = std::make_shared<Constraint>(grammar, vocabulary);
    Rng rng(1, 0);
    for (int round = 0; round < 30; ++round) {
      ConstraintState state(constraint);
      std::string written;
      for (int step = 0; step < 12; ++step) {
        std::vector<int32_t> allowed;
        ASSERT_EQ(allows(state, kEos), check.accepts(written)) << written;
        ASSERT_EQ(state.may_end(), check.accepts(written)) << written;
        for (size_t id = 1; id < vocabulary->size(); ++id) {
          auto token = static_cast<int32_t>(id);
          ASSERT_EQ(allows(state, token), check.begins(written + vocabulary->bytes(token, false)));
          if (allows(state, token)) allowed.push_back(token);
        }
        ASSERT_EQ(state.complete(), allowed.empty());
        if (allowed.empty()) break;
        int32_t id = allowed[rng.below(static_cast<uint32_t>(allowed.size()))];
        state.accept(id);
        written += vocabulary->bytes(id, false);
      }
    }
  }
}

TEST(Constraint, EveryAcceptedTextIsReachedWhateverItsTokens) {
  auto vocabulary = byte_vocabulary(kTokens);
  Grammar grammar = read_grammar("root ::= [abc]* (\"(\" root \")\" [abc]?)*", "test");
  GrammarCheck check(grammar);
  auto constraint = std::make_shared<Constraint>(grammar, vocabulary);
  int texts = 0, splits = 0;
  std::function<void(const std::string&, size_t, const ConstraintState&)> all_splits =
      [&](const std::string& text, size_t at, const ConstraintState& state) {
        if (at == text.size()) {
          ConstraintState end = state;
          ASSERT_TRUE(allows(end, kEos)) << text;
          ++splits;
          return;
        }
        for (size_t id = 1; id < vocabulary->size(); ++id) {
          const std::string& bytes = vocabulary->bytes(static_cast<int32_t>(id), false);
          if (!text.substr(at).starts_with(bytes)) continue;
          ConstraintState next = state;
          ASSERT_TRUE(allows(next, static_cast<int32_t>(id))) << text;
          next.accept(static_cast<int32_t>(id));
          all_splits(text, at + bytes.size(), next);
        }
      };
  std::function<void(const std::string&)> all_texts = [&](const std::string& text) {
    if (!check.begins(text)) return;
    if (check.accepts(text)) {
      ++texts;
      all_splits(text, 0, ConstraintState(constraint));
    }
    if (text.size() == 5) return;
    for (char c : std::string("abc()")) all_texts(text + c);
  };
  all_texts("");
  EXPECT_GT(texts, 300);
  EXPECT_GT(splits, 2 * texts);
}

TEST(Constraint, BehindEosComesNothing) {
  auto vocabulary = byte_vocabulary();
  ConstraintState state(compile("root ::= \"a\"*", vocabulary));
  state.accept('a' + 1);
  state.accept(kEos);
  EXPECT_TRUE(allows(state, kEos));
  EXPECT_FALSE(allows(state, 'a' + 1));
  EXPECT_TRUE(state.complete());
  EXPECT_THROW(state.accept('a' + 1), LogicError);
}

TEST(Constraint, TokensOutsideTheMaskAreRefused) {
  ConstraintState state(compile("root ::= \"ab\"", byte_vocabulary()));
  EXPECT_THROW(state.accept('b' + 1), LogicError);
  EXPECT_THROW(state.accept(kEos), LogicError);
  EXPECT_THROW(state.accept(-1), LogicError);
  EXPECT_THROW(state.accept(100000), LogicError);
  state.accept('a' + 1);
  EXPECT_TRUE(allows(state, 'b' + 1));
}

TEST(Constraint, CopiesGoOnIndependently) {
  ConstraintState one(compile("root ::= \"a\" | \"b\" \"c\"", byte_vocabulary()));
  ConstraintState other = one;
  one.accept('a' + 1);
  other.accept('b' + 1);
  EXPECT_TRUE(one.complete());
  EXPECT_TRUE(allows(other, 'c' + 1));
  EXPECT_FALSE(other.may_end());
}

TEST(Constraint, AVocabularyThatCannotBeginIsRefused) {
  std::vector<std::string> tokens{"", "a", "b"};
  auto vocabulary = std::make_shared<ConstraintVocabulary>(tokens, tokens, std::vector<int32_t>{0});
  EXPECT_THROW(compile("root ::= \"c\"", vocabulary), InputError);
  EXPECT_THROW(ConstraintVocabulary(tokens, tokens, {}), InputError);
  EXPECT_THROW(ConstraintVocabulary(tokens, tokens, {3}), InputError);
}

TEST(Constraint, TheFirstTokenOfATextMayHaveOtherBytes) {
  std::vector<std::string> inside{"", " a", "a"}, first{"", "a", "a"};
  auto vocabulary = std::make_shared<ConstraintVocabulary>(inside, first, std::vector<int32_t>{0});
  ConstraintState state(compile("root ::= \"a a\"", vocabulary));
  EXPECT_TRUE(allows(state, 1));
  EXPECT_TRUE(allows(state, 2));
  state.accept(1);
  EXPECT_TRUE(allows(state, 1));
  EXPECT_FALSE(allows(state, 2));
}

// Counting needs a state per byte: more than one constraint may remember.
TEST(Constraint, MemoryIsBoundedAndLongTextsGoOn) {
  std::vector<std::string> more(100000, "zz");
  auto vocabulary = byte_vocabulary(more);
  auto constraint = compile("root ::= \"a\"{30000}", vocabulary);
  ConstraintState state(constraint), late(constraint);
  for (int i = 0; i < 30000; ++i) {
    ASSERT_TRUE(allows(state, 'a' + 1)) << i;
    ASSERT_FALSE(allows(state, kEos)) << i;
    state.accept('a' + 1);
    if (i % 1000 == 0) {
      late.accept('a' + 1);
      ASSERT_TRUE(allows(late, 'a' + 1)) << i;
    }
  }
  EXPECT_TRUE(allows(state, kEos));
  EXPECT_FALSE(allows(late, kEos));
}

TEST(Constraint, ThreadsShareOne) {
  auto vocabulary = byte_vocabulary(kTokens);
  Grammar grammar = read_grammar("root ::= [abc]* (\"(\" root \")\" [abc]*)*", "test");
  auto constraint = std::make_shared<Constraint>(grammar, vocabulary);
  std::vector<std::string> texts(4);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < texts.size(); ++i) {
    threads.emplace_back([&, i] {
      Rng rng(i, 0);
      for (int round = 0; round < 20; ++round) texts[i] = random_walk(grammar, constraint, *vocabulary, 20, rng);
    });
  }
  for (std::thread& thread : threads) thread.join();
  GrammarCheck check(grammar);
  for (const std::string& text : texts) EXPECT_TRUE(check.accepts(text)) << text;
}

TEST(ConstrainedSampler, WritesOnlyWhatTheGrammarHas) {
  auto vocabulary = byte_vocabulary(kTokens);
  SamplingOptions options{.constraint = compile("root ::= (\"ab\" | \"ca\")+ \"!\"", vocabulary), .temperature = 1};
  std::vector<float> logits(vocabulary->size() + 5);  // a model may have more ids
  Rng rng(2, 0);
  for (uint64_t seed = 0; seed < 20; ++seed) {
    options.seed = seed;
    Sampler sampler(options);
    std::string text;
    for (int i = 0; i < 200; ++i) {
      for (float& logit : logits) logit = static_cast<float>(rng.normal());
      int32_t id = sampler.next(logits, {});
      if (id == kEos) break;
      text += vocabulary->bytes(id, false);
    }
    ASSERT_TRUE(text.ends_with('!'));
    for (size_t i = 0; i + 1 < text.size(); i += 2) {
      EXPECT_TRUE(text.substr(i, 2) == "ab" || text.substr(i, 2) == "ca") << text;
    }
  }
  // The mask and the other steps may leave nothing.
  Sampler none({.banned = {'a' + 1}, .constraint = compile("root ::= \"a\"", byte_vocabulary())});
  EXPECT_THROW(none.next(logits, {}), InputError);
}

TEST(ConstrainedSampler, NothingIsAllocatedInPlacesSeenBefore) {
  auto vocabulary = byte_vocabulary(kTokens);
  Sampler sampler({.constraint = compile("root ::= [abc]*", vocabulary), .temperature = 1});
  std::vector<float> logits(vocabulary->size(), 0.0f);
  logits[kEos] = -100;
  for (int i = 0; i < 50; ++i) sampler.next(logits, {});
  int64_t before = allocations();
  for (int i = 0; i < 50; ++i) sampler.next(logits, {});
  EXPECT_EQ(allocations(), before);
}

TEST(ConstrainedSampler, WithARealTokenizer) {
  TrainBpeOptions options;
  options.vocab_size = 400;
  Tokenizer tokenizer = Tokenizer::parse(
      train_bpe({"{\"name\": \"Zo\u00eb\", \"age\": 12} the cat sat on the mat \u65e5\u672c"}, options), "test");
  int32_t eos = *tokenizer.token_to_id("</s>");
  auto vocabulary = std::make_shared<ConstraintVocabulary>(tokenizer, std::vector<int32_t>{eos});
  Grammar grammar = read_json_schema(
      R"({"type": "object", "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer"}},
          "required": ["name", "age"]})",
      "test");
  GrammarCheck check(grammar);
  auto constraint = std::make_shared<Constraint>(grammar, vocabulary);
  std::vector<float> logits(static_cast<size_t>(tokenizer.vocab_size()));
  Rng rng(3, 0);
  int ended = 0;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    Sampler sampler({.constraint = constraint, .temperature = 1, .seed = seed});
    std::vector<int32_t> ids;
    for (int i = 0; i < 300 && (ids.empty() || ids.back() != eos); ++i) {
      for (float& logit : logits) logit = static_cast<float>(rng.normal());
      ids.push_back(sampler.next(logits, ids));
    }
    std::string text = tokenizer.decode(ids, /*skip_special=*/true);
    if (ids.back() == eos) ++ended;
    EXPECT_EQ(check.accepts(text), ids.back() == eos) << text;
    EXPECT_EQ(sampler.constraint().may_end(), ids.back() == eos);
  }
  EXPECT_GT(ended, 10);
}

}  // namespace
}  // namespace tandem::test
