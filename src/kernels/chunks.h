// How dispatch functions cut rows and runs of elements into chunks for the pool. Chunk sizes follow from the shapes
// alone; where partial sums are formed per chunk, the result is the same for any number of threads.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/context.h"

namespace tandem::kernels {

struct Range {
  int64_t begin = 0, end = 0;
  int64_t size() const { return end - begin; }
};

// Elements per chunk of a kernel that does little per element: far more work than handing out a chunk costs.
inline constexpr int64_t kChunkElements = 16384;

// Rows per chunk so that a chunk has about kChunkElements.
inline int64_t chunk_rows(int64_t row_size) {
  return std::max<int64_t>(1, kChunkElements / std::max<int64_t>(row_size, 1));
}

inline int64_t chunk_count(int64_t n, int64_t chunk) { return (n + chunk - 1) / chunk; }

inline Range chunk_range(int64_t index, int64_t chunk, int64_t n) {
  return {index * chunk, std::min(n, (index + 1) * chunk)};
}

// Calls body(Range) for the ranges of `chunk` that make up 0..n-1.
template <class Body>
void for_ranges(Context& ctx, int64_t n, int64_t chunk, const Body& body) {
  ctx.pool().run(chunk_count(n, chunk), [&](int64_t index, int) { body(chunk_range(index, chunk, n)); });
}

// Calls run(row, first element, count) for pieces of [rows, row_size]: runs of elements counted from row 0 where all
// operands are contiguous, else whole rows.
template <class Run>
void for_runs(Context& ctx, const Tensor& shape, bool contiguous, int64_t chunk, const Run& run) {
  if (contiguous) {
    for_ranges(ctx, shape.elements(), chunk, [&](Range r) { run(0, r.begin, r.size()); });
    return;
  }
  int64_t rows = std::max<int64_t>(1, chunk / std::max<int64_t>(shape.row_size(), 1));
  for_ranges(ctx, shape.rows(), rows, [&](Range r) {
    for (int64_t t = r.begin; t < r.end; ++t) run(t, 0, shape.row_size());
  });
}

}  // namespace tandem::kernels
