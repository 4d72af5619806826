#include "ops/head.h"

#include <cmath>

#include "base/error.h"
#include "base/rng.h"
#include "kernels/cross_entropy.h"
#include "ops/op_check.h"

namespace tandem::test {
namespace {

constexpr int32_t kIgnored = kernels::kIgnoredLabel;

OpCase head_case(const std::string& name, int64_t vocab, int64_t dim, double multiplier, std::vector<int32_t> labels) {
  auto tokens = static_cast<int64_t>(labels.size());
  return {.name = name,
          .inputs = {{"x", {tokens, dim}, Role::shared_activation}},
          .weights = {{"weight", {vocab, dim}, Role::matrix}},
          .apply = [=](Tape& tape, std::span<const Var> x, std::span<const Weight> w) -> OpResult {
            ops::HeadOptions options;
            options.multiplier = multiplier;
            return {{}, ops::head_loss(tape, x[0], w[0], labels, options).sum};
          },
          .longest_sum = std::max({vocab, dim, tokens}),
          .bf16_roundings = 2,
          .inputs_are_shareable = false};
}

INSTANTIATE_TEST_SUITE_P(Head, OpCheck,
                         testing::Values(head_case("head_loss", 24, 16, 1, {3, 0, 23, 7, 7, 11}),
                                         head_case("head_loss_ignored", 19, 8, 1, {kIgnored, 4, kIgnored, 18, 0}),
                                         head_case("head_loss_multiplier", 24, 16, 0.6, {3, kIgnored, 23, 7}),
                                         head_case("head_loss_large_multiplier", 10, 4, 3, {9, 1, 2}),
                                         head_case("head_loss_one_token", 32, 8, 1, {5})),
                         op_name);

struct HeadRun {
  ops::LossSum loss;
  std::vector<double> token_loss, dx, dw;
  bool fused = false;
};

HeadRun run_head(const Precision& precision, const std::vector<double>& x, const std::vector<double>& w,
                 std::span<const int32_t> labels, int64_t dim, double multiplier, Tape::Mode mode,
                 bool count_correct = true) {
  Context ctx(2);
  ctx.profiler().enable(true);
  Tape tape(ctx, precision, mode);
  auto tokens = static_cast<int64_t>(labels.size());
  int64_t vocab = static_cast<int64_t>(w.size()) / dim;
  Var input = tape.activation({tokens, dim}, true);
  set_elements(input->value, x);
  Storage weight(precision.activation, {vocab, dim}), gradient(precision.residual, {vocab, dim});
  Storage losses(precision.residual, {tokens});
  set_elements(weight.tensor(), w);
  ops::HeadOptions options;
  options.multiplier = multiplier;
  options.count_correct = count_correct;
  options.token_loss = losses.tensor();
  bool recording = mode == Tape::Mode::record;
  HeadRun run;
  run.loss = ops::head_loss(tape, input, {weight.tensor(), recording ? gradient.tensor() : Tensor()}, labels, options);
  run.token_loss = elements_of(losses.tensor());
  run.dw = elements_of(gradient.tensor());
  if (recording) run.dx = elements_of(input->grad);
  for (const ProfileEntry& entry : ctx.profiler().entries()) run.fused |= entry.name == "linear_cross_entropy";
  return run;
}

std::vector<double> random_list(size_t count, uint64_t stream) {
  Rng rng(3, stream);
  std::vector<double> out(count);
  for (double& v : out) v = static_cast<float>(2 * rng.uniform() - 1);
  return out;
}

// A long batch goes through in several chunks, the last of them shorter: the same as token by token.
TEST(HeadLoss, SeveralChunksGiveWhatSingleTokensGive) {
  constexpr int64_t kTokens = 8195, kDim = 2, kVocab = 5;
  std::vector<double> x = random_list(kTokens * kDim, 0), w = random_list(kVocab * kDim, 1);
  std::vector<int32_t> labels;
  for (int64_t t = 0; t < kTokens; ++t) labels.push_back(t % 7 == 3 ? kIgnored : static_cast<int32_t>(t % kVocab));
  HeadRun whole = run_head(Precision::reference(), x, w, labels, kDim, 1.5, Tape::Mode::record);
  ops::LossSum sum;
  std::vector<double> dx, token_loss, dw(w.size(), 0.0);
  constexpr int64_t kPiece = 745;  // divides kTokens; every piece is one chunk
  static_assert(kTokens % kPiece == 0);
  for (int64_t at = 0; at < kTokens; at += kPiece) {
    std::vector<double> piece(x.begin() + at * kDim, x.begin() + (at + kPiece) * kDim);
    std::vector<int32_t> piece_labels(labels.begin() + at, labels.begin() + at + kPiece);
    HeadRun run = run_head(Precision::reference(), piece, w, piece_labels, kDim, 1.5, Tape::Mode::record);
    sum.sum += run.loss.sum;
    sum.tokens += run.loss.tokens;
    sum.correct += run.loss.correct;
    dx.insert(dx.end(), run.dx.begin(), run.dx.end());
    token_loss.insert(token_loss.end(), run.token_loss.begin(), run.token_loss.end());
    for (size_t i = 0; i < dw.size(); ++i) dw[i] += run.dw[i];
  }
  EXPECT_NEAR(whole.loss.sum, sum.sum, 1e-9);
  EXPECT_EQ(whole.loss.tokens, sum.tokens);
  EXPECT_EQ(whole.loss.correct, sum.correct);
  EXPECT_EQ(whole.token_loss, token_loss);
  EXPECT_EQ(whole.dx, dx);
  EXPECT_LE(relative_error(whole.dw, dw), 1e-13);
}

std::vector<double> rounded(std::vector<double> values) {
  for (double& v : values) v = round_to_bf16(v);
  return values;
}

// A training step in bf16 takes the fused op, whose results are those of the logits held whole.
TEST(HeadLoss, FusedOpGivesWhatLogitsGive) {
  if (!has_bf16_products(choose_isa())) GTEST_SKIP() << "no bfloat16 products on this instruction set";
  constexpr int64_t kTokens = 200, kDim = 32, kVocab = 1500;
  std::vector<double> x = rounded(random_list(kTokens * kDim, 4)), w = rounded(random_list(kVocab * kDim, 5));
  std::vector<int32_t> labels;
  for (int64_t t = 0; t < kTokens; ++t) labels.push_back(t % 9 == 4 ? kIgnored : static_cast<int32_t>(t * 13 % kVocab));
  constexpr auto kRecord = Tape::Mode::record;
  constexpr double kRoundoff = 0x1p-8;  // half a unit of bfloat16, relative
  HeadRun want = run_head(Precision::reference(), x, w, labels, kDim, 0.75, kRecord);
  HeadRun fused = run_head(Precision::bfloat16(), x, w, labels, kDim, 0.75, kRecord, false);
  HeadRun counted = run_head(Precision::bfloat16(), x, w, labels, kDim, 0.75, kRecord);
  HeadRun loss_only = run_head(Precision::bfloat16(), x, w, labels, kDim, 0.75, Tape::Mode::no_grad, false);
  EXPECT_TRUE(fused.fused);
  EXPECT_FALSE(counted.fused || loss_only.fused);
  EXPECT_EQ(fused.loss.tokens, want.loss.tokens);
  for (const HeadRun* run : {&fused, &counted}) {
    EXPECT_NEAR(run->loss.sum, want.loss.sum, 1e-6 * want.loss.sum);
    EXPECT_LE(relative_error(run->token_loss, want.token_loss), 1e-6);
    EXPECT_LE(relative_error(run->dx, want.dx), kRoundoff);
    EXPECT_LE(relative_error(run->dw, want.dw), kRoundoff);
  }
}

TEST(HeadLoss, IsMinusTheLogarithmOfTheLabelsProbability) {
  // Logits of the two tokens: (1, 3, -2) and (0, -1, 2), twice that after the multiplier.
  std::vector<double> x{1, 0, 0, 1}, w{1, 0, 3, -1, -2, 2};
  std::vector<int32_t> labels{1, 0};
  HeadRun run = run_head(Precision::reference(), x, w, labels, 2, 2, Tape::Mode::no_grad);
  double first = -std::log(std::exp(6) / (std::exp(2) + std::exp(6) + std::exp(-4)));
  double second = -std::log(1 / (1 + std::exp(-2) + std::exp(4)));
  EXPECT_NEAR(run.token_loss[0], first, 1e-13);
  EXPECT_NEAR(run.token_loss[1], second, 1e-13);
  EXPECT_NEAR(run.loss.sum, first + second, 1e-13);
  EXPECT_EQ(run.loss.tokens, 2);
  EXPECT_EQ(run.loss.correct, 1);
}

TEST(HeadLoss, IgnoredTokensCountNowhere) {
  std::vector<double> x = random_list(12, 2), w = random_list(20, 3);
  std::vector<int32_t> labels{kIgnored, kIgnored, kIgnored};
  for (const Precision& precision : {Precision::reference(), Precision::float32()}) {
    HeadRun run = run_head(precision, x, w, labels, 4, 1, Tape::Mode::record);
    EXPECT_EQ(run.loss.sum, 0);
    EXPECT_EQ(run.loss.tokens, 0);
    EXPECT_EQ(run.token_loss, std::vector<double>(3, 0.0));
    EXPECT_EQ(run.dx, std::vector<double>(12, 0.0));
    EXPECT_EQ(run.dw, std::vector<double>(20, 0.0));
  }
}

// Far beyond the range of float32's exponential.
TEST(HeadLoss, HugeLogitsStayFinite) {
  std::vector<double> x{200, -200}, w{1, -1, 0.5, 0.25};  // token 0: 400 and 50
  std::vector<int32_t> labels{1};
  HeadRun run = run_head(Precision::float32(), x, w, labels, 2, 1, Tape::Mode::record);
  EXPECT_FLOAT_EQ(static_cast<float>(run.loss.sum), 350.0f);
  EXPECT_EQ(run.dx, (std::vector<double>{0.5, -1.25}));
}

TEST(HeadLoss, LabelOutsideTheVocabularyIsAnInputError) {
  std::vector<double> x{1, 0}, w{1, 0, 3, -1};
  for (int32_t bad : {2, -1, -99}) {
    std::vector<int32_t> labels{bad};
    EXPECT_THROW(run_head(Precision::float32(), x, w, labels, 2, 1, Tape::Mode::no_grad), InputError) << bad;
  }
}

TEST(HeadLogits, AreTheMultipliedProducts) {
  Context ctx(1);
  Tape tape(ctx, Precision::float32(), Tape::Mode::no_grad);
  Storage x(DType::f32, {2, 2}), w(DType::f32, {3, 2}), logits(DType::f32, {2, 3});
  set_elements(x.tensor(), {1, 2, 3, -1});
  set_elements(w.tensor(), {1, 0, 0, 1, 2, 3});
  Weight weight{w.tensor(), {}};
  ops::head_logits(tape, logits.tensor(), tape.constant(x.tensor()), weight, 1);
  EXPECT_EQ(elements_of(logits.tensor()), (std::vector<double>{1, 2, 8, 3, -1, 3}));
  ops::head_logits(tape, logits.tensor(), tape.constant(x.tensor()), weight, 0.5);
  EXPECT_EQ(elements_of(logits.tensor()), (std::vector<double>{0.5, 1, 4, 1.5, -0.5, 1.5}));
  Storage narrow(DType::f32, {2, 2});
  EXPECT_THROW(ops::head_logits(tape, narrow.tensor(), tape.constant(x.tensor()), weight, 1), LogicError);
}

}  // namespace
}  // namespace tandem::test
