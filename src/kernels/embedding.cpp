#include "kernels/embedding.h"

#include <cstring>

#include "kernels/chunks.h"
#include "kernels/cpu/kernels.h"
#include "kernels/operand.h"
#include "kernels/ref/embedding.h"

// Lookups are copies and sums of rows: the elementwise kernels do all of the work.
namespace tandem::kernels {

void embedding_forward(Context& ctx, const Tensor& y, const Tensor& table, std::span<const int32_t> ids) {
  ProfileScope scope(ctx.profiler(), "embedding", 0, 2 * bytes_of(y));
  if (is_reference(table.dtype) || is_reference(y.dtype)) return ref::embedding_forward(y, table, ids);
  int64_t d = y.row_size();
  for_ranges(ctx, y.rows(), chunk_rows(d), [&](Range rows) {
    for (int64_t t = rows.begin; t < rows.end; ++t) {
      const float* from = table.row<float>(ids[static_cast<size_t>(t)]);
      if (y.dtype == DType::bf16) {
        ctx.cpu().elementwise.to_bf16(y.row<bf16>(t), from, d);
      } else {
        std::memcpy(y.row<float>(t), from, static_cast<size_t>(d) * sizeof(float));
      }
    }
  });
}

void embedding_backward(Context& ctx, const Tensor& dtable, const Tensor& dy, std::span<const int32_t> ids) {
  ProfileScope scope(ctx.profiler(), "embedding", static_cast<double>(dy.elements()), 3 * bytes_of(dy));
  if (is_reference(dtable.dtype)) return ref::embedding_backward(dtable, dy, ids);
  // Equal ids make rows collide, so threads share the columns and each adds its columns in the order of t.
  constexpr int64_t kColumns = 64;
  for_ranges(ctx, dy.row_size(), kColumns, [&](Range columns) {
    for (int64_t t = 0; t < dy.rows(); ++t) {
      float* to = dtable.row<float>(ids[static_cast<size_t>(t)]) + columns.begin;
      if (dy.dtype == DType::bf16) {
        ctx.cpu().elementwise.accumulate_bf16(to, dy.row<bf16>(t) + columns.begin, columns.size());
      } else {
        ctx.cpu().elementwise.accumulate_f32(to, dy.row<float>(t) + columns.begin, columns.size());
      }
    }
  });
}

}  // namespace tandem::kernels
