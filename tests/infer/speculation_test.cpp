// Proposals by lookup: which, and that the tokens are those of a run without.
#include <functional>

#include "base/error.h"
#include "infer/engine_check.h"
#include "infer/grammar_check.h"
#include "infer/grammar_reader.h"
#include "infer/lookup.h"

namespace tandem::test {
namespace {

std::vector<int32_t> proposal(const std::vector<int32_t>& history, const SpeculationOptions& options,
                              int64_t most = 100) {
  std::vector<int32_t> draft;
  propose_by_lookup(history, options, most, draft);
  return draft;
}

TEST(Lookup, ProposesWhatFollowedTheLatestOccurrence) {
  using Ids = std::vector<int32_t>;
  SpeculationOptions options{.draft = 4, .longest = 2, .shortest = 2};
  EXPECT_EQ(proposal({1, 2, 3, 4, 1, 2, 5, 6, 7, 1, 2}, options, 3), (Ids{5, 6, 7}));
  EXPECT_EQ(proposal({1, 2, 3, 4, 1, 2, 5, 6, 7, 1, 2}, options, 1), (Ids{5}));
  EXPECT_EQ(proposal({1, 2, 3, 4, 2}, options), Ids{}) << "one token is no match";
  EXPECT_EQ(proposal({1, 2, 3, 4, 1, 2}, options, 0), Ids{});
  EXPECT_EQ(proposal({}, options), Ids{});
  EXPECT_EQ(proposal({1}, options), Ids{});
  // Behind the end of the sequence it goes on with itself.
  EXPECT_EQ(proposal({1, 2, 9, 1, 2}, options, 7), (Ids{9, 1, 2, 9, 1, 2, 9}));
  EXPECT_EQ(proposal({5, 5, 5}, options, 3), (Ids{5, 5, 5}));
}

TEST(Lookup, LongerMatchesComeFirst) {
  using Ids = std::vector<int32_t>;
  // (1 2 3) stands at the beginning, (2 3) again behind it.
  std::vector<int32_t> history{1, 2, 3, 7, 4, 2, 3, 8, 1, 2, 3};
  EXPECT_EQ(proposal(history, {.longest = 3, .shortest = 1}, 1), Ids{7});
  EXPECT_EQ(proposal(history, {.longest = 2, .shortest = 1}, 1), Ids{8});
  EXPECT_EQ(proposal({3, 9, 1, 2, 3}, {.longest = 3, .shortest = 1}, 1), Ids{9});
}

class Speculation : public EngineTest, public testing::WithParamInterface<NamedConfig> {
 protected:
  Speculation() : EngineTest(GetParam().config) { pack(); }

  // A prompt with something to find in it, and what may be asked for besides.
  GenerationRequest looping(uint64_t seed, double temperature, int64_t max_tokens) {
    GenerationRequest asked = request(seed, 6, max_tokens, temperature);
    std::vector<int32_t> ids = asked.prompt.ids(), all;
    for (int i = 0; i < 4; ++i) all.insert(all.end(), ids.begin(), ids.end());
    asked.prompt = Prompt::continue_text(all);
    return asked;
  }
  std::vector<GenerationRequest> requests() {
    std::vector<GenerationRequest> all;
    auto add = [&](double temperature, int64_t max_tokens, const std::function<void(GenerationOptions&)>& change) {
      all.push_back(looping(all.size() + 1, temperature, max_tokens));
      change(all.back().options);
    };
    add(0, 90, [](GenerationOptions&) {});
    add(0, 1000, [](GenerationOptions& o) { o.sampling.top_log_probabilities = 3; });
    add(0.3, 60, [](GenerationOptions& o) { o.sampling.top_k = 2; });
    add(1, 40, [](GenerationOptions& o) { o.sampling.top_p = 0.7; });
    add(0.5, 40, [](GenerationOptions& o) {
      o.sampling.repetition_penalty = 1.2;
      o.sampling.presence_penalty = -0.5;
      o.sampling.frequency_penalty = 0.1;
      o.sampling.logit_bias = {{7, 1}, {9, -2}};
    });
    add(0.4, 40, [](GenerationOptions& o) {
      o.sampling.banned = {4, 5};
      o.sampling.min_p = 0.1;
      o.sampling.typical = 0.9;
    });
    add(0.2, 50, [](GenerationOptions& o) { o.eos = {3, 4, 11, 12, 17}; });
    add(0, 40, [](GenerationOptions& o) { o.sampling.forced = {6, 6, 8, 9}; });
    add(0, 60, [](GenerationOptions& o) { o.fold = 7; });
    add(0.3, 20, [](GenerationOptions& o) { o.fold = 1; });
    std::vector<std::string> bytes(static_cast<size_t>(config_.vocab_size));
    for (size_t id = 3; id < bytes.size(); ++id) bytes[id] = static_cast<char>('a' + id - 3);
    auto vocabulary = std::make_shared<ConstraintVocabulary>(bytes, bytes, std::vector<int32_t>{2});
    auto constraint =
        std::make_shared<Constraint>(read_grammar("root ::= (\"abc\" | \"abd\" | \"e\")*", "test"), vocabulary);
    add(0.8, 50, [&](GenerationOptions& o) {
      o.sampling.constraint = constraint;
      o.eos = {2};
    });
    return all;
  }
};

TEST_P(Speculation, TokensAreThoseOfARunWithout) {
  std::vector<GenerationRequest> all = requests();
  int64_t accepted = 0, passes = 0, tokens = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    Generation expected = alone(all[i]);
    EXPECT_EQ(expected.passes, static_cast<int64_t>(expected.ids.size()));
    for (int64_t draft : {1, 5, 16}) {
      GenerationRequest asked = all[i];
      asked.options.speculation.draft = draft;
      Generation ours = alone(asked);
      SCOPED_TRACE(testing::Message() << "draft " << draft << ", request " << i);
      expect_same_bits(ours, expected);
      EXPECT_LE(ours.accepted_tokens, ours.proposed_tokens);
      accepted += ours.accepted_tokens;
      passes += ours.passes;
      tokens += static_cast<int64_t>(ours.ids.size());
    }
  }
  EXPECT_GT(accepted, tokens / 10) << "the case shows nothing: nothing was accepted";
  EXPECT_LT(passes, tokens);
}

TEST_P(Speculation, InBatchesAsWell) {
  std::vector<GenerationRequest> all = requests();
  std::vector<Generation> expected;
  for (const GenerationRequest& asked : all) expected.push_back(alone(asked));
  for (int64_t step_tokens : {1, 9, 512}) {
    Engine engine(ctx_, *model_, {.step_tokens = step_tokens, .most_sequences = 5});
    std::vector<Engine::Ticket> tickets;
    for (size_t i = 0; i < all.size(); ++i) {
      GenerationRequest asked = all[i];
      asked.options.speculation.draft = static_cast<int64_t>(i % 4 * 3);
      asked.completions = i % 3 == 0 ? 2 : 1;
      tickets.push_back(engine.submit(asked));
    }
    for (size_t i = 0; i < all.size(); ++i) {
      SCOPED_TRACE(testing::Message() << "step of " << step_tokens << ", request " << i);
      GenerationResult result = engine.wait(tickets[i]);
      EXPECT_EQ(result.error, "");
      expect_same_bits(result.completions.front(), expected[i]);
    }
    const EngineStatistics& seen = engine.statistics();
    // With a budget of one token there is no room for proposals.
    EXPECT_EQ(seen.accepted_tokens > 0, step_tokens > 1);
    engine.forget_prefixes();
    EXPECT_EQ(engine.caches().bytes_in_use(), 0);
  }
}

TEST_P(Speculation, TheCallerEndsItInTheMiddleOfAPass) {
  for (Next next : {Next::stop, Next::cancel}) {
    for (size_t count : {size_t{1}, size_t{9}, size_t{23}}) {
      auto run = [&](int64_t draft) {
        GenerationRequest asked = looping(1, 0, 60);
        asked.options.speculation.draft = draft;
        size_t seen = 0;
        asked.on_token = [&](int64_t, int32_t) { return ++seen == count ? next : Next::go_on; };
        Engine engine(ctx_, *model_, {});
        Generation out = engine.wait(engine.submit(asked)).completions.front();
        EXPECT_EQ(seen, count);
        engine.forget_prefixes();
        EXPECT_EQ(engine.caches().bytes_in_use(), 0);
        return out;
      };
      expect_same_bits(run(8), run(0));
    }
  }
}

// What an answer leaves for the next turn is what was accepted, no more.
TEST_P(Speculation, ConversationsGoOnFromWhatWasAccepted) {
  Engine engine(ctx_, *model_, {});
  GenerationRequest first = looping(2, 0, 50);
  first.options.speculation.draft = 7;
  Generation answer = engine.wait(engine.submit(first)).completions.front();
  std::vector<int32_t> ids = first.prompt.ids();
  ids.insert(ids.end(), answer.ids.begin(), answer.ids.end());
  GenerationRequest second = first;
  second.prompt = Prompt::continue_text(ids);
  expect_same(engine.wait(engine.submit(second)).completions.front(), alone(second));
}

TEST_P(Speculation, BadOptionsAreRefused) {
  Engine engine(ctx_, *model_, {});
  auto refused = [&](const SpeculationOptions& options) {
    GenerationRequest asked = request(1, 3, 3);
    asked.options.speculation = options;
    EXPECT_THROW(engine.submit(asked), InputError);
  };
  refused({.draft = -1});
  refused({.draft = 3, .longest = 0});
  refused({.draft = 3, .longest = 2, .shortest = 3});
  refused({.draft = 3, .longest = 2, .shortest = 0});
}

INSTANTIATE_TEST_SUITE_P(Small, Speculation, testing::ValuesIn(longer_configs()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace tandem::test
