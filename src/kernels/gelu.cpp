#include "kernels/gelu.h"

#include "kernels/chunks.h"
#include "kernels/cpu/kernels.h"
#include "kernels/operand.h"
#include "kernels/ref/gelu.h"

namespace tandem::kernels {
namespace {

// A chunk's work is an exponential and a division per element: smaller chunks than those of plain sums.
constexpr int64_t kChunk = 4096;

void* at(const Tensor& t, int64_t row, int64_t i) {
  return static_cast<char*>(t.data) + (row * t.row_stride + i) * dtype_bytes(t.dtype);
}

}  // namespace

void gelu_forward(Context& ctx, const Tensor& y, const Tensor& x, GeluKind kind) {
  ProfileScope scope(ctx.profiler(), "gelu", 20.0 * static_cast<double>(x.elements()), bytes_of(x, y));
  if (is_reference(x.dtype)) return ref::gelu_forward(y, x, kind);
  const cpu::GeluKernels& kernels = ctx.cpu().gelu;
  auto kernel = kind == GeluKind::tanh ? kernels.forward_tanh : kernels.forward_erf;
  for_runs(ctx, x, x.contiguous() && y.contiguous(), kChunk,
           [&](int64_t t, int64_t i, int64_t n) { kernel(at(y, t, i), at(x, t, i), x.dtype == DType::bf16, n); });
}

void gelu_backward(Context& ctx, const Tensor& dx, const Tensor& dy, const Tensor& x, GeluKind kind) {
  ProfileScope scope(ctx.profiler(), "gelu", 26.0 * static_cast<double>(x.elements()), bytes_of(x, dy, dx));
  if (is_reference(x.dtype)) return ref::gelu_backward(dx, dy, x, kind);
  const cpu::GeluKernels& kernels = ctx.cpu().gelu;
  auto kernel = kind == GeluKind::tanh ? kernels.backward_tanh : kernels.backward_erf;
  bool contiguous = x.contiguous() && dy.contiguous() && dx.contiguous();
  for_runs(ctx, x, contiguous, kChunk, [&](int64_t t, int64_t i, int64_t n) {
    kernel(at(dx, t, i), at(dy, t, i), at(x, t, i), x.dtype == DType::bf16, n);
  });
}

}  // namespace tandem::kernels
