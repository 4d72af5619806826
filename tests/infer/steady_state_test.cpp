// Steps of the engine allocate nothing once they have found their sizes.
#include "infer/allocations.h"
#include "infer/engine_check.h"

namespace tandem::test {
namespace {

class SteadyState : public EngineTest, public testing::WithParamInterface<NamedConfig> {
 protected:
  SteadyState() : EngineTest(GetParam().config) { pack(); }

  // Allocations of `steps` steps of `batch` sequences that write, after `before` of them.
  int64_t allocations_of(size_t batch, int64_t draft, int before, int steps) {
    Context ctx(1);  // all work on this thread, whose allocations are counted
    Engine engine(ctx, *model_, {.most_sequences = static_cast<int64_t>(batch), .reuse_prefixes = false});
    for (size_t i = 0; i < batch; ++i) {
      GenerationRequest asked = request(i + 1, 5 + static_cast<int64_t>(i), 150, i % 2 == 0 ? 0 : 1);
      asked.options.speculation.draft = draft;
      asked.options.sampling.top_p = 0.9;
      asked.options.sampling.repetition_penalty = 1.1;
      engine.submit(asked);
    }
    for (int i = 0; i < before; ++i) engine.step();
    int64_t at_first = allocations(), written = engine.statistics().written_tokens;
    for (int i = 0; i < steps; ++i) engine.step();
    int64_t counted = allocations() - at_first;
    EXPECT_GE(engine.statistics().written_tokens - written, static_cast<int64_t>(batch) * steps);
    return counted;
  }
};

TEST_P(SteadyState, WritingAllocatesNothing) {
  for (size_t batch : {size_t{1}, size_t{8}}) {
    // The second border of pages is among the steps; at the first one lists of stretches of keys grow.
    EXPECT_EQ(allocations_of(batch, 0, 70, 75), 0) << batch << " sequences";
  }
  EXPECT_GT(allocations(), 0);
}

INSTANTIATE_TEST_SUITE_P(Small, SteadyState, testing::ValuesIn(longer_configs()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace tandem::test
