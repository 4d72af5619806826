#include "kernels/copy_rows.h"

#include <vector>

#include "operands.h"

namespace tandem::bench {
namespace {

// Rows of keys in pages of 16 that lie in no order. Arguments: width, bf16.
struct Pages {
  Arena arena;
  Tensor cache, rows;
  std::vector<int32_t> places;

  Pages(int64_t width, DType type)
      : cache(random(arena, type, {4 * kRows, width})), rows(random(arena, type, {kRows, width})) {
    constexpr int64_t kPage = 16, kPages = 4 * kRows / kPage;
    for (int64_t t = 0; t < kRows; ++t) {
      places.push_back(static_cast<int32_t>(t / kPage * 37 % kPages * kPage + t % kPage));
    }
  }
  double bytes() const { return 2 * static_cast<double>(rows.bytes()); }
};

void scatter(benchmark::State& state) {
  Context ctx;
  Pages p(state.range(0), type_of(state.range(1)));
  measure(state, [&] { kernels::scatter_rows(ctx, p.cache, p.places, p.rows); });
  rate(state, "bytes", p.bytes());
}

void gather(benchmark::State& state) {
  Context ctx;
  Pages p(state.range(0), type_of(state.range(1)));
  measure(state, [&] { kernels::gather_rows(ctx, p.rows, p.cache, p.places); });
  rate(state, "bytes", p.bytes());
}

BENCHMARK(scatter)->ArgsProduct({{64, 448}, {0, 1}})->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(gather)->ArgsProduct({{64, 448}, {0, 1}})->UseRealTime()->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace tandem::bench

BENCHMARK_MAIN();
