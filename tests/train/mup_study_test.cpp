// The coordinate check as a test: with muP sizes stay within a band over the width, and the same test finds the
// standard parametrisation outside of it.
#include "train/mup_study.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "arch/model.h"
#include "base/error.h"
#include "train/widths.h"

namespace tandem {
namespace {

// Large beside the widths, as vocabularies are: the authors draw the embedding within sqrt(12 / (V + d)), which is
// independent of the width d as far as V is larger.
constexpr int64_t kVocab = 1021;

// What a slope of log size over log width may be. muP says 0 in the limit of large widths; at 32 to 256 the slopes are
// within +-0.14 (widths as small as the head size are not yet alike). In the standard parametrisation what a step
// changes about a layer grows with the width: slopes from 0.25 (behind a norm, after some steps) to 1.
constexpr double kBand = 0.2;

// Every token has four usual followers: something that a few steps can learn.
Batch chain(int64_t rows, int64_t length, uint64_t seed) {
  Rng rng(seed, 1);
  Batch batch;
  batch.rows = rows;
  batch.length = length;
  for (int64_t b = 0; b < rows; ++b) {
    int64_t id = rng.below(kVocab);
    for (int64_t t = 0; t < length; ++t) {
      batch.ids.push_back(static_cast<int32_t>(id));
      batch.positions.push_back(static_cast<int32_t>(t));
      batch.segments.push_back(0);
      id = (7 * id + 3 + rng.below(4)) % kVocab;
      batch.labels.push_back(t == length - 1 ? kIgnoreLabel : static_cast<int32_t>(id));
    }
  }
  return batch;
}

bool has_output_matrix(Arch arch) { return arch == Arch::yoco || arch == Arch::block_transformer; }

MupStudy small_study(Arch arch, bool mup) {
  MupStudy study;
  study.model.arch = arch;
  study.model.vocab_size = kVocab;
  study.model.dim = 32;
  study.model.n_heads = 2;
  study.model.n_encoder_layers = 2;
  study.model.n_decoder_layers = 2;
  study.model.max_seq_len = 32;
  study.mup = mup;
  study.widths = {32, 64, 128, 256};
  study.steps = 4;
  study.seeds = 2;
  study.optimizer.lr = 4e-3;
  for (uint64_t step = 0; step < 4; ++step) study.batches.push_back(chain(4, 32, step));
  // With an output matrix of its own the embedding learns nothing of a token that no step has read: a row of the first
  // step, and one that none has read for the others.
  study.probe = chain(1, 32, has_output_matrix(arch) ? 0 : 99);
  return study;
}

const CoordinateSeries& named(const MupResult& result, const std::string& name) {
  auto at = std::find_if(result.activations.begin(), result.activations.end(),
                         [&](const CoordinateSeries& s) { return s.name == name; });
  if (at == result.activations.end()) throw std::runtime_error("no activation " + name);
  return *at;
}

class MupCheck : public testing::TestWithParam<Arch> {
 protected:
  static MupResult run(Arch arch, bool mup) {
    Context ctx(2);
    return run_mup_study(ctx, small_study(arch, mup));
  }
};

// An output matrix of its own makes logits as small as the root of the width at the start; what steps change about them
// has one part that keeps its size, and one that passes through the matrix as it was drawn and falls like the logits.
constexpr double kOutputSlope = -0.5;

TEST_P(MupCheck, SizesDoNotDependOnTheWidth) {
  MupResult result = run(GetParam(), true);
  for (const CoordinateSeries& s : result.activations) {
    const double falls = s.name == "logits" && has_output_matrix(GetParam()) ? kOutputSlope : 0;
    EXPECT_NEAR(s.size_slope, falls, kBand) << s.name << " at the start";
    for (auto [slope, when] :
         {std::pair{s.first_change_slope, "one step"}, std::pair{s.change_slope, "the last step"}}) {
      EXPECT_LE(slope, kBand) << s.name << " after " << when;
      EXPECT_GE(slope, falls - kBand) << s.name << " after " << when;
    }
  }
}

// The largest slope, sign aside, of the sizes at the start and of the changes after the first and the last step.
double worst_slope(const MupResult& result) {
  double worst = 0;
  for (const CoordinateSeries& s : result.activations) {
    for (double slope : {s.size_slope, s.first_change_slope, s.change_slope}) worst = std::max(worst, std::fabs(slope));
  }
  return worst;
}

// The same measure finds a parametrisation that is wrong: every layer's changes grow.
TEST_P(MupCheck, TheStandardParametrisationIsFound) {
  MupResult result = run(GetParam(), false);
  // A YOCO's embedding is scaled by the root of the width, so that what layers add to it shows less.
  const bool yoco = GetParam() == Arch::yoco;
  EXPECT_GT(worst_slope(result), (yoco ? 2.5 : 3) * kBand);
  for (const CoordinateSeries& s : result.activations) {
    bool layer = s.name.starts_with("enc.") || s.name.starts_with("dec.");
    EXPECT_GT(s.change_slope, !layer ? -kBand : yoco ? 0 : 2 * kBand) << s.name;
  }
  EXPECT_GT(named(result, "logits").first_change_slope, 2 * kBand);
  EXPECT_GT(named(result, GetParam() == Arch::block_transformer ? "enc_embed" : "embed").size_slope,
            yoco ? 2 * kBand : -kBand);
}

TEST(MupStudyRuns, CanBeCancelled) {
  Context ctx(1);
  int steps = 0;
  auto progress = [&](double) { ++steps; };
  EXPECT_THROW(run_mup_study(ctx, small_study(Arch::decoder, true), progress, [&] { return steps == 2; }), Cancelled);
  EXPECT_EQ(steps, 2);
}

TEST(MupStudyRuns, RefusesOneWidth) {
  Context ctx(1);
  MupStudy study = small_study(Arch::decoder, true);
  study.widths = {32};
  EXPECT_THROW(run_mup_study(ctx, study), InputError);
  study.widths = {32, 40};
  EXPECT_THROW(run_mup_study(ctx, study), InputError);
}

INSTANTIATE_TEST_SUITE_P(Archs, MupCheck,
                         testing::Values(Arch::decoder, Arch::double_decoder, Arch::yoco, Arch::block_transformer),
                         [](const auto& arch) { return std::string(arch_name(arch.param)); });

TEST(Widths, HeadsFollowTheWidth) {
  ModelConfig config;
  config.dim = 128;
  config.n_heads = 4;
  config.n_kv_heads = 2;
  config.mlp_dim = 384;
  ModelConfig wide = at_width(config, 256);
  EXPECT_EQ(wide.dim, 256);
  EXPECT_EQ(wide.n_heads, 8);
  EXPECT_EQ(wide.n_kv_heads, 4);
  EXPECT_EQ(wide.head_size(), 32);
  EXPECT_EQ(wide.mlp_dim, 768);
  EXPECT_THROW(at_width(config, 96), InputError);  // three heads share one and a half key heads
  EXPECT_THROW(at_width(config, 16), InputError);
  config.n_kv_heads = 0;
  EXPECT_EQ(at_width(config, 96).n_heads, 3);
}

TEST(Widths, StandardParametrisationForgetsTheBase) {
  ModelConfig config;
  config.mup_base_dim = 48;
  ModelConfig with = with_mup(config, true, 64), without = with_mup(config, false, 64);
  EXPECT_EQ(with.mup_base_dim, 48);
  EXPECT_EQ(with.mup_base_head_dim, 64);
  EXPECT_EQ(without.mup_base_dim, 0);
  EXPECT_EQ(without.matrix_rate_factor(), 1);
  EXPECT_EQ(without.logit_multiplier(), 1);
  config.mup_base_dim = 0;
  EXPECT_EQ(with_mup(config, true, 64).mup_base_dim, 64);
}

TEST(Widths, SlopeIsThatOfAPowerLaw) {
  std::vector<double> x{1, 2, 8, 32}, y;
  for (double v : x) y.push_back(3 * std::pow(v, -0.7));
  EXPECT_NEAR(log_slope(x, y), -0.7, 1e-12);
  EXPECT_TRUE(std::isnan(log_slope(x, std::vector<double>{1, 0, 1, 1})));
  EXPECT_TRUE(std::isnan(log_slope(std::vector<double>{2, 2}, std::vector<double>{1, 3})));
}

}  // namespace
}  // namespace tandem
