#include "kernels/adamw.h"

#include <cmath>

#include "base/error.h"
#include "kernels/chunks.h"
#include "kernels/cpu/kernels.h"
#include "kernels/operand.h"
#include "kernels/ref/adamw.h"

namespace tandem::kernels {
namespace {

cpu::AdamWScalars prepare(const AdamWStep& step) {
  double count = static_cast<double>(step.step);
  return {.gradient_scale = static_cast<float>(step.gradient_scale),
          .beta1 = static_cast<float>(step.beta1),
          .one_minus_beta1 = static_cast<float>(1.0 - step.beta1),
          .beta2 = static_cast<float>(step.beta2),
          .one_minus_beta2 = static_cast<float>(1.0 - step.beta2),
          .decay = static_cast<float>(1.0 - step.learning_rate * step.weight_decay),
          .step_size = static_cast<float>(step.learning_rate / (1.0 - std::pow(step.beta1, count))),
          .v_scale = static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(step.beta2, count))),
          .eps = static_cast<float>(step.eps)};
}

}  // namespace

void adamw(Context& ctx, const Tensor& w, const Tensor& g, const Tensor& m, const Tensor& v, const Tensor& compute,
           const AdamWStep& step) {
  double moved = 2 * bytes_of(w, m, v) + bytes_of(g) + (compute.defined() ? bytes_of(compute) : 0.0);
  ProfileScope scope(ctx.profiler(), "adamw", 14.0 * static_cast<double>(w.elements()), moved);
  // In a reference run the gradients are doubles; the masters stay what they are.
  if (is_reference(w.dtype) || is_reference(g.dtype)) return ref::adamw(w, g, m, v, compute, step);
  cpu::AdamWScalars scalars = prepare(step);
  bool contiguous = w.contiguous() && g.contiguous() && m.contiguous() && v.contiguous() &&
                    (!compute.defined() || compute.contiguous());
  for_runs(ctx, w, contiguous, kChunkElements, [&](int64_t t, int64_t i, int64_t n) {
    ctx.cpu().adamw.update(w.row<float>(t) + i, g.row<float>(t) + i, m.row<float>(t) + i, v.row<float>(t) + i,
                           compute.defined() ? compute.row<bf16>(t) + i : nullptr, n, scalars);
  });
}

void adamw(Context& ctx, const Tensor& w, const Tensor& g, const AdamWState& state, const Tensor& compute,
           const AdamWStep& step, const StateRounding& rounding) {
  if (state.first.dtype == DType::f32) return adamw(ctx, w, g, state.first, state.second, compute, step);
  bool whole = w.contiguous() && g.contiguous() && state.first.contiguous() && state.second.contiguous() &&
               (!compute.defined() || compute.contiguous());
  if (!whole || rounding.first_element % kChunkElements != 0) {
    throw LogicError({.what = "adamw: moments in few bits need contiguous operands that begin with a chunk",
                      .got = fmt::format("{}, from element {}", w.shape.text(), rounding.first_element)});
  }
  bool bytes = state.first.dtype == DType::u8;
  double moved = 2 * bytes_of(w, state.first, state.second) + bytes_of(g);
  if (compute.defined()) moved += bytes_of(compute);
  if (bytes) moved += 2 * bytes_of(state.first_scale, state.second_scale);
  ProfileScope scope(ctx.profiler(), "adamw", 14.0 * static_cast<double>(w.elements()), moved);
  if (is_reference(g.dtype) || is_reference(w.dtype)) return ref::adamw(w, g, state, compute, step, rounding);
  cpu::AdamWScalars scalars = prepare(step);
  static_assert(kChunkElements % kStateBlock == 0);
  for_ranges(ctx, w.elements(), kChunkElements, [&](Range r) {
    StateKey key = state_key(rounding, step.step, (rounding.first_element + r.begin) / kChunkElements);
    cpu::AdamWSpan span{.w = w.as<float>() + r.begin,
                        .g = g.as<float>() + r.begin,
                        .compute = compute.defined() ? compute.as<bf16>() + r.begin : nullptr,
                        .n = r.size(),
                        .key = {key[0], key[1]}};
    if (!bytes) {
      ctx.cpu().adamw.update_bf16(span, state.first.as<bf16>() + r.begin, state.second.as<bf16>() + r.begin, scalars);
      return;
    }
    int64_t block = r.begin / kStateBlock;
    ctx.cpu().adamw.update_8bit(span, state.first.as<uint8_t>() + r.begin, state.second.as<uint8_t>() + r.begin,
                                state.first_scale.as<float>() + block, state.second_scale.as<float>() + block, scalars);
  });
}

double sum_of_squares(Context& ctx, const Tensor& x) {
  ProfileScope scope(ctx.profiler(), "sum_of_squares", 2.0 * static_cast<double>(x.elements()), bytes_of(x));
  if (is_reference(x.dtype)) return ref::sum_of_squares(x);
  int64_t rows = x.contiguous() ? 1 : x.rows();
  int64_t n = x.contiguous() ? x.elements() : x.row_size();
  int64_t chunks = chunk_count(n, kChunkElements);
  ArenaScope arena(ctx.scratch());
  double* partials = ctx.scratch().tensor(DType::f64, {rows * chunks}).as<double>();
  ctx.pool().run(rows * chunks, [&](int64_t index, int) {
    Range range = chunk_range(index % chunks, kChunkElements, n);
    partials[index] = ctx.cpu().adamw.sum_of_squares(x.row<float>(index / chunks) + range.begin, range.size());
  });
  double sum = 0;
  for (int64_t index = 0; index < rows * chunks; ++index) sum += partials[index];
  return sum;
}

}  // namespace tandem::kernels
