#include "eval/likelihood.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "arch/model_check.h"
#include "infer/generator.h"
#include "infer/sampler.h"

namespace tandem::test {
namespace {

struct Expected {
  double log_probability = 0;
  bool greedy = true;

  void add(const std::vector<double>& logits, int32_t id) {
    double largest = *std::max_element(logits.begin(), logits.end()), total = 0;
    for (double logit : logits) total += std::exp(logit - largest);
    log_probability += logits[static_cast<size_t>(id)] - largest - std::log(total);
    greedy = greedy && logits[static_cast<size_t>(id)] == largest;
  }
};

std::vector<Continuation> continuations(const ModelConfig& config) {
  Rng rng(31, 0);
  auto draw = [&](int64_t count) {
    std::vector<int32_t> ids;
    for (int64_t i = 0; i < count; ++i) {
      ids.push_back(static_cast<int32_t>(rng.below(static_cast<uint32_t>(config.vocab_size))));
    }
    return ids;
  };
  std::vector<Continuation> all;
  for (int64_t context : {1, 2, 7, 19}) {
    std::vector<int32_t> shared = draw(context);
    for (int64_t length : {1, 5, 3}) all.push_back({shared, draw(length)});
  }
  // As long as positions allow.
  all.push_back({draw(9), draw(config.max_seq_len - 9)});
  all.push_back({draw(1), draw(config.max_seq_len - 1)});
  // More than one pass takes.
  for (int i = 0; i < 200; ++i) all.push_back({draw(1 + i % 7), draw(1 + i % 5)});
  return all;
}

class Likelihood : public testing::TestWithParam<NamedConfig> {
 protected:
  Likelihood()
      : exact_(random_model(GetParam().config, Precision::reference())),
        model_(random_model(GetParam().config, Precision::float32())) {}

  // Token after token through the caches, in double precision.
  Expected by_decoding(const Continuation& c) {
    Tape tape(ctx_, Precision::reference(), Tape::Mode::no_grad);
    Prompt prompt = Prompt::continue_text(c.context);
    auto state = exact_->new_state(prompt.tokens() + static_cast<int64_t>(c.tokens.size()));
    exact_->prefill(tape, *state, prompt.read);
    std::vector<float> logits(static_cast<size_t>(exact_->config().vocab_size));
    int32_t fed = prompt.opening;
    Expected expected;
    for (int32_t id : c.tokens) {
      tape.reset();
      exact_->decode(tape, *state, fed, logits);
      expected.add({logits.begin(), logits.end()}, id);
      fed = id;
    }
    return expected;
  }

  // One pass over context and continuation as a training row, a block opening at the context's last token.
  Expected by_full_pass(const Continuation& c) {
    Batch batch;
    batch.rows = 1;
    batch.ids = c.context;
    batch.ids.insert(batch.ids.end(), c.tokens.begin(), c.tokens.end() - 1);
    batch.length = static_cast<int64_t>(batch.ids.size());
    for (int32_t t = 0; t < batch.length; ++t) batch.positions.push_back(t);
    batch.segments.assign(batch.ids.size(), 0);
    batch.labels.assign(batch.ids.size(), kIgnoreLabel);
    if (c.context.size() > 1) batch.boundaries = {static_cast<int32_t>(c.context.size()) - 1};
    auto logits = logits_of(*exact_, batch, ctx_);
    Expected expected;
    for (size_t i = 0; i < c.tokens.size(); ++i) expected.add(logits[c.context.size() - 1 + i], c.tokens[i]);
    return expected;
  }

  Context ctx_{1};
  std::unique_ptr<Model> exact_, model_;
  Tape tape_{ctx_, Precision::float32(), Tape::Mode::no_grad};
};

// 2e-5 per token. YOCO's retention norms each head by itself, so that a head whose output is nearly zero passes its
// rounding errors on many times enlarged; the fewer features a head has, the more often that happens. With heads of 2
// features, which are not among these configs, the worst of the same continuations deviates by 1.7e-5 per token (of 8
// and 16 features by 2.5e-6). That is the config's condition, no fault of the fast path: in double precision the same
// continuation moves by 1.4e-5 when every weight moves by at most 2^-22 of itself.
TEST_P(Likelihood, IsThatOfDecoding) {
  std::vector<Continuation> all = continuations(model_->config());
  std::vector<ContinuationScore> scores = score_continuations(*model_, tape_, all);
  ASSERT_EQ(scores.size(), all.size());
  for (size_t i = 0; i < all.size(); ++i) {
    Expected expected = by_decoding(all[i]);
    EXPECT_NEAR(scores[i].log_probability, expected.log_probability, 2e-5 * static_cast<double>(all[i].tokens.size()))
        << i;
    EXPECT_EQ(scores[i].greedy, expected.greedy) << i;
  }
}

TEST_P(Likelihood, IsThatOfOnePassOverTheRow) {
  if (!learns(model_->config().arch, Objective::text)) GTEST_SKIP() << "no pass over plain rows";
  std::vector<Continuation> all = continuations(model_->config());
  std::vector<ContinuationScore> scores = score_continuations(*model_, tape_, all);
  for (size_t i = 0; i < all.size(); ++i) {
    Expected expected = by_full_pass(all[i]);
    EXPECT_NEAR(scores[i].log_probability, expected.log_probability, 2e-5 * static_cast<double>(all[i].tokens.size()))
        << i;
    EXPECT_EQ(scores[i].greedy, expected.greedy) << i;
  }
}

TEST_P(Likelihood, IsTheSumOfItsTokens) {
  for (const ContinuationScore& score : score_continuations(*model_, tape_, continuations(model_->config()))) {
    double sum = 0;
    bool all = true;
    for (const TokenScore& token : score.tokens) {
      EXPECT_LT(token.log_probability, 0);
      sum += token.log_probability;
      all = all && token.largest;
    }
    EXPECT_DOUBLE_EQ(score.log_probability, sum);
    EXPECT_EQ(score.greedy, all);
  }
}

// What a model writes greedily is greedy, and nothing else is.
TEST_P(Likelihood, GreedyIsWhatTheModelWrites) {
  Generator generator(ctx_, *model_);
  GenerationOptions options;
  options.max_tokens = 4;
  std::vector<int32_t> context{3, 1, 4, 1, 5};
  std::vector<int32_t> written = generator.run(Prompt::continue_text(context), options).ids;
  std::vector<Continuation> all{{context, written}};
  for (size_t i = 0; i < written.size(); ++i) {
    all.push_back({context, written});
    all.back().tokens[i] = (written[i] + 1) % 29;
  }
  std::vector<ContinuationScore> scores = score_continuations(*model_, tape_, all);
  for (size_t i = 0; i < scores.size(); ++i) EXPECT_EQ(scores[i].greedy, i == 0) << i;
}

TEST_P(Likelihood, KnowsWhatFits) {
  int64_t most = model_->config().max_seq_len;
  std::vector<int32_t> context{1, 2, 3};
  EXPECT_TRUE(fits(*model_, {context, std::vector<int32_t>(static_cast<size_t>(most) - 3, 1)}));
  EXPECT_FALSE(fits(*model_, {context, std::vector<int32_t>(static_cast<size_t>(most) - 2, 1)}));
}

INSTANTIATE_TEST_SUITE_P(Archs, Likelihood, testing::ValuesIn(small_configs()),
                         [](const auto& named) { return named.param.name; });

// With packed weights, as tasks are scored.
class PackedLikelihood : public testing::TestWithParam<NamedConfig> {
 protected:
  PackedLikelihood() {
    config_.max_seq_len = 200;  // several pages
    Rng rng(41, 0);
    for (int i = 0; i < 40; ++i) {
      std::vector<int32_t> context = draw(1 + rng.below(i % 8 == 0 ? 150 : 30), rng);
      // Candidates of one context, of different lengths.
      for (uint32_t n = 1 + rng.below(4); n > 0; --n) all_.push_back({context, draw(1 + rng.below(40), rng)});
    }
    all_.push_back({draw(1, rng), draw(199, rng)});
    all_.push_back({draw(198, rng), draw(2, rng)});
  }

  struct Format {
    kernels::WeightFormat weights;
    Precision precision;
  };
  std::vector<Format> formats() {
    std::vector<Format> all{{kernels::WeightFormat::f32, Precision::float32()}};
    if (has_bf16_products(ctx_.isa())) {
      all.push_back({kernels::WeightFormat::bf16, Precision::bfloat16()});
      all.push_back({kernels::WeightFormat::int8, Precision::bfloat16()});
    }
    return all;
  }
  void use(const Format& format) {
    model_ = random_model(config_, format.precision);
    model_->parameters().pack(ctx_, format.weights);
    tape_.emplace(ctx_, format.precision, Tape::Mode::no_grad);
  }
  std::vector<int32_t> draw(uint32_t count, Rng& rng) {
    std::vector<int32_t> ids;
    while (ids.size() < count)
      ids.push_back(static_cast<int32_t>(rng.below(static_cast<uint32_t>(config_.vocab_size))));
    return ids;
  }
  // The bits of all token scores of each continuation.
  std::vector<std::vector<double>> bits(const std::vector<Continuation>& continuations) {
    std::vector<std::vector<double>> out;
    for (const ContinuationScore& score : score_continuations(*model_, *tape_, continuations)) {
      std::vector<double>& own = out.emplace_back();
      for (const TokenScore& token : score.tokens) {
        own.push_back(token.log_probability);
        own.push_back(token.largest);
      }
    }
    return out;
  }

  ModelConfig config_ = GetParam().config;
  Context ctx_{2};
  std::vector<Continuation> all_;
  std::unique_ptr<Model> model_;
  std::optional<Tape> tape_;
};

TEST_P(PackedLikelihood, DoesNotDependOnNeighbours) {
  for (const Format& format : formats()) {
    use(format);
    std::vector<std::vector<double>> alone;
    for (const Continuation& c : all_) alone.push_back(bits({c}).front());
    EXPECT_EQ(bits(all_), alone);
    // In another order, so that others share a pass, and every third one missing.
    Rng rng(43, 0);
    std::vector<size_t> order;
    for (size_t i = 0; i < all_.size(); ++i) {
      if (i % 3 != 1) order.push_back(i);
    }
    for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[rng.below(static_cast<uint32_t>(i))]);
    std::vector<Continuation> shuffled;
    std::vector<std::vector<double>> expected;
    for (size_t i : order) {
      shuffled.push_back(all_[i]);
      expected.push_back(alone[i]);
    }
    EXPECT_EQ(bits(shuffled), expected);
  }
}

// What is scored was not read: another end of a continuation changes no bit of what stands before it.
TEST_P(PackedLikelihood, LaterTokensDoNotReachEarlierScores) {
  for (const Format& format : formats()) {
    use(format);
    Rng rng(47, 0);
    for (size_t context : {size_t{1}, size_t{2}, size_t{70}}) {
      Continuation c{draw(static_cast<uint32_t>(context), rng), draw(12, rng)};
      std::vector<double> whole = bits({c}).front();
      for (size_t kept = 0; kept < c.tokens.size(); ++kept) {
        Continuation other = c;
        for (size_t t = kept; t < c.tokens.size(); ++t) {
          other.tokens[t] = static_cast<int32_t>((c.tokens[t] + 1 + rng.below(7)) % config_.vocab_size);
        }
        other.tokens.resize(kept + 1 + rng.below(static_cast<uint32_t>(c.tokens.size() - kept)));
        std::vector<double> changed = bits({other}).front();
        for (size_t i = 0; i < 2 * kept; ++i) EXPECT_EQ(changed[i], whole[i]) << "token " << i / 2 << " of " << kept;
        EXPECT_NE(changed[2 * kept], whole[2 * kept]);  // another token has another score
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Archs, PackedLikelihood, testing::ValuesIn(small_configs()),
                         [](const auto& named) { return named.param.name; });

}  // namespace
}  // namespace tandem::test
