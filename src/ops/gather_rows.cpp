#include "ops/gather_rows.h"

#include <algorithm>

#include "base/error.h"
#include "kernels/copy_rows.h"
#include "kernels/elementwise.h"

namespace tandem::ops {
namespace {

// For every row of x the row of the result that takes it, or -1; in the tape's memory.
std::span<const int32_t> takers(Tape& tape, const RowsOf& source) {
  int64_t count = source.x->value.rows();
  std::span<int32_t> of(tape.arena().tensor(DType::i32, {std::max<int64_t>(count, 1)}).as<int32_t>(),
                        static_cast<size_t>(count));
  std::fill(of.begin(), of.end(), -1);
  for (size_t r = 0; r < source.rows.size(); ++r) {
    int32_t row = source.rows[r];
    if (row < 0) continue;
    if (row >= count || of[static_cast<size_t>(row)] >= 0) {
      throw LogicError({.what = "gather_rows: a row taken twice or beyond the source",
                        .got = fmt::format("{}", row),
                        .expected = fmt::format("distinct rows below {}", count)});
    }
    of[static_cast<size_t>(row)] = static_cast<int32_t>(r);
  }
  return of;
}

// to = or += rows of `from`, converted to the type of `to`; rows that are negative give zeros.
void put(Context& ctx, const Tensor& to, const Tensor& from, std::span<const int32_t> rows, const Tensor& scratch,
         bool accumulate) {
  if (!accumulate && to.dtype == from.dtype) return kernels::gather_rows(ctx, to, from, rows);
  kernels::gather_rows(ctx, scratch, from, rows);
  if (accumulate) {
    kernels::accumulate(ctx, to, scratch);
  } else {
    kernels::convert(ctx, to, scratch);
  }
}

void leave_gradient(Tape& tape, Var out, const RowsOf& source) {
  if (!tape.recording() || !source.x->needs_grad) return;
  std::span<const int32_t> taker = takers(tape, source);
  tape.on_backward([=, x = source.x](Tape& t) {
    if (!out->grad.defined()) return;
    Tape::GradientSlot dx = t.gradient_slot(x);
    Tensor scratch = t.take_scratch(out->grad.dtype, x->value.shape);
    put(t.context(), dx.tensor, out->grad, taker, scratch, dx.accumulate);
    t.give_back_scratch(scratch);
  });
}

void fill(Tape& tape, Var out, const RowsOf& source, bool accumulate) {
  Tensor scratch = tape.take_scratch(source.x->value.dtype, out->value.shape);
  put(tape.context(), out->value, source.x->value, source.rows, scratch, accumulate);
  tape.give_back_scratch(scratch);
  leave_gradient(tape, out, source);
}

// Recorded before the gradients of the sources: runs behind them.
void drop_when_done(Tape& tape, Var out) {
  tape.on_backward([=](Tape& t) { t.drop_gradient(out); });
}

}  // namespace

Var gather_rows(Tape& tape, std::initializer_list<RowsOf> sources) {
  const RowsOf& first = *sources.begin();
  Var out = tape.residual({static_cast<int64_t>(first.rows.size()), first.x->value.row_size()});
  drop_when_done(tape, out);
  bool accumulate = false;
  for (const RowsOf& source : sources) {
    check_shape("gather_rows", "source", source.x->value, {source.x->value.rows(), out->value.row_size()});
    if (source.rows.size() != first.rows.size()) throw LogicError({.what = "gather_rows: sources of two lengths"});
    fill(tape, out, source, accumulate);
    accumulate = true;
  }
  return out;
}

Var gather_activations(Tape& tape, const RowsOf& source) {
  Var out = tape.activation({static_cast<int64_t>(source.rows.size()), source.x->value.row_size()},
                            /*shared_grad=*/true);
  if (source.x->value.dtype != out->value.dtype) throw LogicError({.what = "gather_activations: not an activation"});
  drop_when_done(tape, out);
  fill(tape, out, source, false);
  return out;
}

Var to_residual(Tape& tape, Var x) {
  Var out = tape.residual(x->value.shape);
  kernels::convert(tape.context(), out->value, x->value);
  tape.on_backward([=](Tape& t) {
    if (out->grad.defined()) t.move_gradient(x, out);
  });
  return out;
}

}  // namespace tandem::ops
