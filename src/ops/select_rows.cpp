#include "ops/select_rows.h"

#include <cstring>

#include "base/error.h"
#include "kernels/elementwise.h"

namespace tandem::ops {
namespace {

Tensor row_of(const Tensor& t, int64_t row) { return t.slice_rows(row, row + 1); }

void check_rows(std::span<const int32_t> rows, int64_t count) {
  int64_t previous = -1;
  for (int32_t row : rows) {
    if (row <= previous || row >= count) {
      throw LogicError({.what = "select_rows: rows out of order or out of range",
                        .got = fmt::format("{} after {}", row, previous),
                        .expected = fmt::format("ascending numbers below {}", count)});
    }
    previous = row;
  }
}

// Rows of dx that were not selected are zero, unless it holds the gradient of another consumer.
void scatter(Context& ctx, const Tape::GradientSlot& dx, const Tensor& dy, std::span<const int32_t> rows) {
  auto bytes = static_cast<size_t>(dy.row_size() * dtype_bytes(dy.dtype));
  if (!dx.accumulate) std::memset(dx.tensor.data, 0, static_cast<size_t>(dx.tensor.bytes()));
  for (size_t i = 0; i < rows.size(); ++i) {
    Tensor from = row_of(dy, static_cast<int64_t>(i)), to = row_of(dx.tensor, rows[i]);
    if (dx.accumulate) {
      kernels::accumulate(ctx, to, from);
    } else {
      std::memcpy(to.data, from.data, bytes);
    }
  }
}

}  // namespace

Var select_rows(Tape& tape, Var x, std::span<const int32_t> rows) {
  check_rows(rows, x->value.rows());
  Var out = tape.activation({static_cast<int64_t>(rows.size()), x->value.row_size()});
  if (x->value.dtype != out->value.dtype) throw LogicError({.what = "select_rows: x is not an activation"});
  out->grad_dtype = x->grad_dtype;
  auto bytes = static_cast<size_t>(out->value.row_size() * dtype_bytes(out->value.dtype));
  for (size_t i = 0; i < rows.size(); ++i) {
    std::memcpy(row_of(out->value, static_cast<int64_t>(i)).data, row_of(x->value, rows[i]).data, bytes);
  }
  tape.on_backward([=](Tape& t) {
    if (!out->grad.defined()) return;
    scatter(t.context(), t.gradient_slot(x), out->grad, rows);
    t.drop_gradient(out);
  });
  return out;
}

}  // namespace tandem::ops
