#include "eval/parity.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "base/error.h"
#include "base/temporary_folder.h"
#include "eval/golden_folders.h"

namespace tandem::test {
namespace {

ParityReport check(const GoldenCase& c, const Precision& precision, bool judge = true) {
  Context ctx(2);
  return c.kind == GoldenKind::generation ? check_generation(ctx, c, precision, judge)
                                          : check_forward(ctx, c, precision, judge);
}

const ParityCheck& find(const ParityReport& report, const std::string& tensor_class) {
  for (const ParityCheck& c : report.checks) {
    if (c.tensor_class == tensor_class) return c;
  }
  throw std::runtime_error("no check of " + tensor_class);
}

class Parity : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (!have_golden(GetParam())) GTEST_SKIP() << GetParam() << " is not there";
  }
};

TEST_P(Parity, Float32IsWithinTheCasesTolerance) {
  ParityReport report = check(read_golden_case(golden_folder(GetParam())), Precision::float32());
  EXPECT_FALSE(report.checks.empty());
  for (const ParityCheck& c : report.checks) {
    EXPECT_TRUE(c.ok) << c.tensor_class << " of " << c.tensor << " is off by " << c.worst;
  }
  EXPECT_TRUE(report.ok());
}

// The recorded numbers are float32; each case's notes say how far they are from the same model in float64: 1.3e-5 at
// most for logits, 4e-7 for the loss, 5e-6 relative for gradients. Generation was compared with another float64
// program.
TEST_P(Parity, ReferenceIsAsCloseAsTheRecordedNumbersAreToFloat64) {
  ParityReport report = check(read_golden_case(golden_folder(GetParam())), Precision::reference());
  EXPECT_TRUE(report.ok());
  EXPECT_LE(find(report, "logits").worst, 1.6e-5);
  for (const ParityCheck& c : report.checks) {
    if (c.tensor_class == "loss") {
      EXPECT_LE(c.worst, 5e-7);
    }
    if (c.tensor_class == "gradient") {
      EXPECT_LE(c.worst, 6e-6) << c.tensor;
    }
  }
}

TEST_P(Parity, EveryClassIsReported) {
  GoldenCase c = read_golden_case(golden_folder(GetParam()));
  ParityReport report = check(c, Precision::float32());
  bool generation = c.kind == GoldenKind::generation;
  for (const char* name :
       {"logits", generation ? "generated_ids" : "loss", generation ? "encoder_output" : "gradient"}) {
    EXPECT_FALSE(find(report, name).tensor.empty()) << name;
  }
  if (!generation) {
    EXPECT_FALSE(find(report, "activation").tolerance.has_value());
    EXPECT_LE(find(report, "activation").worst, 1e-4);
    EXPECT_LE(find(report, "loss_per_token").worst, 1e-4);
    if (std::filesystem::exists(c.folder / "gen.safetensors")) {
      EXPECT_LE(find(report, "step_logits").worst, c.tolerance.logits_abs);
      EXPECT_EQ(find(report, "step_logits").compared, 3) << "two prompts, and both in a batch";
      EXPECT_EQ(find(report, "generated_ids").worst, 0);
      EXPECT_EQ(find(report, "generated_ids").compared, 4) << "and with another EOS";
      EXPECT_EQ(find(report, "activation").compared, c.config.arch == Arch::yoco ? 8 : 5)
          << "embedding, layers, shared keys and values, output norm";
    }
    if (c.config.logit_biases) {
      EXPECT_LE(find(report, "log_sum_exp").worst, 1e-4);
    }
  }
}

// One wrong convention at a time; the notes give the change of a logit that each makes, far above the tolerance.
TEST_P(Parity, WrongConventionsAreNoticed) {
  struct Mistake {
    const char* name;
    void (*make)(ModelConfig&);
  };
  for (const Mistake& mistake : {Mistake{"eps", [](ModelConfig& c) { c.norm_eps = 1e-6; }},
                                 {"eps of the outer norms", [](ModelConfig& c) { c.output_norm_eps = 1e-3; }},
                                 {"erf", [](ModelConfig& c) { c.activation = kernels::GeluKind::erf; }},
                                 {"pairs", [](ModelConfig& c) { c.rope_pairs = kernels::RopePairs::half_split; }},
                                 {"base", [](ModelConfig& c) { c.rope_base = 9000; }}}) {
    GoldenCase c = read_golden_case(golden_folder(GetParam()));
    mistake.make(c.config);
    if (c.config.arch == Arch::yoco && mistake.name == std::string("erf")) {  // which has no GELU
      c.config.window -= 1;
      c.config.decay_divisor = 15.9;
    }
    if (c.config.mlp == MlpKind::swiglu && c.config.arch == Arch::decoder) {  // a Llama: no GELU, pairs half-split
      if (mistake.name == std::string("erf")) c.config.rope_scaling.factor *= 0.9;
      if (mistake.name == std::string("pairs")) c.config.rope_pairs = kernels::RopePairs::adjacent;
    }
    ParityReport report = check(c, Precision::float32());
    EXPECT_FALSE(report.ok()) << mistake.name;
    EXPECT_FALSE(find(report, "logits").ok) << mistake.name;
  }
}

// A copy of a case in which one number of one weight is off by a thousandth.
TEST_P(Parity, APerturbedWeightIsNoticed) {
  GoldenCase c = read_golden_case(golden_folder(GetParam()));
  SafetensorsFile weights = SafetensorsFile::open(c.folder / "weights.safetensors");
  TemporaryFolder folder;
  std::filesystem::copy(c.folder, folder / "case");
  std::filesystem::permissions(folder / "case/weights.safetensors", std::filesystem::perms::owner_all);
  auto names = [&]() -> std::array<std::string, 2> {
    if (c.config.arch == Arch::yoco) return {"embed_tokens.weight", "cross_decoder.v_proj.weight"};
    bool llama = c.config.mlp == MlpKind::swiglu;
    if (llama) return {"model.embed_tokens.weight", "model.norm.weight"};
    return {"embedding.weight", "output_norm.weight"};
  };
  for (const std::string& name : names()) {
    std::vector<SafetensorsEntry> entries;
    Storage changed(DType::f32, weights.tensor(name).shape);
    copy_convert(changed.tensor(), weights.tensor(name));
    changed.tensor().as<float>()[3] += 1e-3f;
    for (const std::string& n : weights.names()) {
      entries.push_back({n, n == name ? changed.tensor() : weights.tensor(n)});
    }
    write_safetensors(folder / "case/weights.safetensors", entries);
    EXPECT_FALSE(check(read_golden_case(folder / "case"), Precision::float32()).ok()) << name;
  }
}

// Judged or not, the numbers are the same.
TEST_P(Parity, UnjudgedRunsReportWithoutFailing) {
  GoldenCase c = read_golden_case(golden_folder(GetParam()));
  c.config.norm_eps = 1e-3;
  ParityReport report = check(c, Precision::float32(), false);
  EXPECT_TRUE(report.ok());
  EXPECT_GT(find(report, "logits").worst, c.tolerance.logits_abs);
  EXPECT_FALSE(find(report, "logits").tolerance.has_value());
}

// Bfloat16 rounds to 2^-9 of a value some ten times per layer; logits are of order 5. Its own reference rounds there
// too.
TEST_P(Parity, Bfloat16IsNear) {
  if (!has_bf16_products(choose_isa())) GTEST_SKIP() << "no bfloat16 products on this instruction set";
  GoldenCase c = read_golden_case(golden_folder(GetParam()));
  double fast = find(check(c, Precision::bfloat16(), false), "logits").worst;
  double reference = find(check(c, Precision::reference_bf16(), false), "logits").worst;
  EXPECT_GT(reference, c.tolerance.logits_abs);
  EXPECT_LE(fast, 2 * reference);
  EXPECT_LE(reference, 2 * fast);
}

INSTANTIATE_TEST_SUITE_P(Golden, Parity,
                         testing::Values("bdd_tiny", "bdd_unshared", "bdd_hd64", "bdd_logitbias", "bdd_generate",
                                         "dec_tiny", "sed_tiny", "bdd_sft", "yoco_swa", "yoco_gret", "llama_tiny"),
                         [](const auto& test) { return std::string(test.param); });

TEST(ParityCollector, KeepsTheWorstOfEachClassInOrder) {
  ParityCollector out;
  out.add("gradient", "relative", "a", 1e-6, 1e-5);
  out.add("loss", "absolute", "loss", 0.0, std::nullopt);
  out.add("gradient", "relative", "b", 3e-6, 1e-5);
  out.add("gradient", "relative", "c", 2e-6, 1e-5);
  ParityReport report = out.report();
  ASSERT_EQ(report.checks.size(), 2u);
  EXPECT_EQ(report.checks[0].tensor, "b");
  EXPECT_EQ(report.checks[0].worst, 3e-6);
  EXPECT_EQ(report.checks[1].tensor, "loss");
  EXPECT_TRUE(report.ok());
  out.add("gradient", "relative", "d", 2e-5, 1e-5);
  EXPECT_FALSE(out.report().ok());
}

TEST(ParityCollector, NaNIsInfinitelyWrong) {
  ParityCollector out;
  out.add("logits", "absolute", "logits", std::nan(""), 1e-5);
  EXPECT_FALSE(out.report().ok());
  EXPECT_TRUE(std::isinf(out.report().checks[0].worst));
}

TEST(Differences, WorstDifferenceSeesNaNAndEqualInfinities) {
  Storage a(DType::f32, {2, 2}), b(DType::f32, {2, 2});
  float inf = std::numeric_limits<float>::infinity();
  a.tensor().as<float>()[1] = b.tensor().as<float>()[1] = -inf;
  a.tensor().as<float>()[2] = 3;
  EXPECT_EQ(worst_difference(a.tensor(), b.tensor()), 3);
  b.tensor().as<float>()[3] = inf;
  EXPECT_TRUE(std::isinf(worst_difference(a.tensor(), b.tensor())));
  b.tensor().as<float>()[3] = std::nanf("");
  EXPECT_TRUE(std::isinf(worst_difference(a.tensor(), b.tensor())));
}

TEST(Differences, RelativeDifferenceIsNormOverNorm) {
  Storage a(DType::f32, {2}), b(DType::f32, {2});
  a.tensor().as<float>()[0] = 6;
  b.tensor().as<float>()[0] = 3;
  b.tensor().as<float>()[1] = 4;
  EXPECT_DOUBLE_EQ(relative_difference(a.tensor(), b.tensor(), 0.5, 1e-6), 0.8);
  EXPECT_DOUBLE_EQ(relative_difference(a.tensor(), b.tensor(), 0.5, 8), 0.5);
}

}  // namespace
}  // namespace tandem::test
