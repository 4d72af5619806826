// Sums over rows (gradients of the norms' weights) whose order does not depend on the number of threads: each chunk of
// rows forms a partial sum, and the partial sums are added in the order of the chunks.
#pragma once

#include <cstring>

#include "kernels/chunks.h"
#include "kernels/cpu/kernels.h"

namespace tandem::kernels {

// body(rows, partial) adds the share of a range of rows to partial[0..n-1], which starts at zero; y[0..n-1] += the sum.
template <class Body>
void add_row_sums(Context& ctx, std::initializer_list<float*> ys, int64_t rows, int64_t n, const Body& body) {
  constexpr int64_t kMostChunks = 64, kLeastRows = 16, kColumns = 256;
  int64_t chunk = std::max(kLeastRows, chunk_count(rows, kMostChunks));
  int64_t chunks = chunk_count(rows, chunk), width = n * static_cast<int64_t>(ys.size());
  ArenaScope scope(ctx.scratch());
  float* partials = ctx.scratch().tensor(DType::f32, {chunks, width}).as<float>();
  ctx.pool().run(chunks, [&](int64_t index, int) {
    float* partial = partials + index * width;
    std::memset(partial, 0, static_cast<size_t>(width) * sizeof(float));
    body(chunk_range(index, chunk, rows), partial);
  });
  for_ranges(ctx, n, kColumns, [&](Range columns) {
    int64_t part = 0;
    for (float* y : ys) {
      for (int64_t index = 0; index < chunks; ++index) {
        const float* partial = partials + index * width + part * n;
        ctx.cpu().elementwise.accumulate_f32(y + columns.begin, partial + columns.begin, columns.size());
      }
      ++part;
    }
  });
}

}  // namespace tandem::kernels
