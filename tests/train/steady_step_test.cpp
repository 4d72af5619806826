// What a step asks for besides arithmetic once it is steady: the budget in docs/performance.md.
#include <gtest/gtest.h>

#include "base/dry_run.h"
#include "infer/allocations.h"
#include "train/training_check.h"

namespace tandem {
namespace {

using test::Bench;
using test::random_batch;

struct StepCase {
  Arch arch = Arch::double_decoder;
  PrecisionChoice precision = PrecisionChoice::float32;
  Recompute recompute = Recompute::none;
};

class SteadyStep : public testing::TestWithParam<StepCase> {
 protected:
  static constexpr int64_t kRows = 2;

  SteadyStep()
      : config(test::small_model(GetParam().arch)),
        precision(choose_precision(GetParam().precision, Context(1).isa())),
        bench(config, {}, 2, precision) {
    bench.tape.set_recompute(GetParam().recompute);
  }
  void step(uint64_t seed) {
    Batch batch = random_batch(config, kRows, seed);
    bench.step.accumulate(batch);
    bench.step.finish(1.0);
  }
  double bytes_of(std::string_view op) {
    double bytes = 0;
    for (const ProfileEntry& entry : bench.ctx.profiler().entries()) {
      if (entry.name == op) bytes += entry.bytes;
    }
    return bytes;
  }
  int64_t system_allocations() { return bench.tape.system_allocations() + bench.ctx.scratch().system_allocations(); }

  ModelConfig config;
  Precision precision;
  Bench bench;
};

TEST_P(SteadyStep, AsksTheSystemForNothing) {
  for (uint64_t seed : {0, 1}) step(seed);
  const int64_t allocations = system_allocations();
  const size_t reserved = bench.tape.reserved_bytes(), scratch = bench.ctx.scratch().reserved_bytes();
  for (uint64_t seed = 2; seed < 6; ++seed) {
    step(seed);
    EXPECT_EQ(system_allocations(), allocations) << "step " << seed;
    EXPECT_EQ(bench.tape.reserved_bytes(), reserved) << "step " << seed;
    EXPECT_EQ(bench.ctx.scratch().reserved_bytes(), scratch) << "step " << seed;
  }
}

// Lists of texts and blocks, whatever the sizes of the model. No loop runs, so that what the matrix library allocates
// in its calls is left out.
TEST_P(SteadyStep, MakesAFewSmallLists) {
  for (uint64_t seed : {0, 1}) step(seed);
  Batch batch = random_batch(config, kRows, 2);
  DryRun dry;
  for (int i = 0; i < 3; ++i) {
    bench.tape.reset();
    const int64_t before = test::allocations();
    bench.model->loss(bench.tape, batch);
    bench.tape.backward();
    EXPECT_LE(test::allocations() - before, 6);
  }
}

// The gradient of the residual stream, kept in float32, is rounded to bf16 once for each matrix that adds to it.
TEST_P(SteadyStep, ConvertsWhatTheBudgetNames) {
  step(0);
  bench.ctx.profiler().enable(true);
  step(1);
  const bool narrow = precision == Precision::bfloat16();
  const double residual = static_cast<double>(kRows * config.max_seq_len * config.dim);
  EXPECT_EQ(bytes_of("convert"), narrow ? 2 * static_cast<double>(config.layers()) * residual * (4 + 2) : 0);
  EXPECT_EQ(bytes_of("copy rows"), 0);
}

INSTANTIATE_TEST_SUITE_P(Kinds, SteadyStep,
                         testing::Values(StepCase{}, StepCase{.precision = PrecisionChoice::bfloat16},
                                         StepCase{.precision = PrecisionChoice::bfloat16,
                                                  .recompute = Recompute::layers},
                                         StepCase{.arch = Arch::decoder, .precision = PrecisionChoice::bfloat16}),
                         [](const auto& kind) {
                           return fmt::format("{}{}{}", arch_name(kind.param.arch),
                                              kind.param.precision == PrecisionChoice::float32 ? "Float32" : "Bf16",
                                              kind.param.recompute == Recompute::none ? "" : "Recomputed");
                         });

}  // namespace
}  // namespace tandem
