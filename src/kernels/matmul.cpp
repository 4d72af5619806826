#include "kernels/matmul.h"

#include "base/error.h"
#include "kernels/elementwise.h"
#include "kernels/gemm.h"
#include "kernels/operand.h"
#include "kernels/ref/matmul.h"

namespace tandem::kernels {
namespace {

bool any_reference(const Tensor& a, const Tensor& b, const Tensor& c) {
  return is_reference(a.dtype) || is_reference(b.dtype) || is_reference(c.dtype);
}

[[noreturn]] void unsupported(const Tensor& c, const Tensor& a, const Tensor& b, Store store) {
  throw LogicError({.what = "matmul has no kernel for these types",
                    .got = fmt::format("{} and {} into {}{}", dtype_name(a.dtype), dtype_name(b.dtype),
                                       dtype_name(c.dtype), store == Store::accumulate ? ", accumulating" : ""),
                    .expected = "operands of one type, f32 or bf16; bf16 results do not accumulate"});
}

void check_types(const Tensor& c, const Tensor& a, const Tensor& b, Store store) {
  bool real = (a.dtype == DType::f32 || a.dtype == DType::bf16) && a.dtype == b.dtype &&
              (c.dtype == DType::f32 || c.dtype == DType::bf16);
  if (!real || (c.dtype == DType::bf16 && store == Store::accumulate)) unsupported(c, a, b, store);
}

// A matrix seen as it lies in memory or transposed.
struct View {
  const Tensor& tensor;
  bool transposed;
  int64_t row_stride() const { return transposed ? 1 : tensor.row_stride; }
  int64_t column_stride() const { return transposed ? tensor.row_stride : 1; }
};

Tensor to_f32(Context& ctx, const Tensor& x) {
  Tensor out = ctx.scratch().tensor(DType::f32, x.shape);
  convert(ctx, out, x);
  return out;
}

// c[m, n] (+)= a[m, k] b[k, n]
void multiply(Context& ctx, const Tensor& c, const View& a, const View& b, int64_t k, Store store) {
  check_types(c, a.tensor, b.tensor, store);
  if (a.tensor.dtype == DType::bf16 && !has_bf16_products(ctx.isa())) {
    // Only tools and tests come here: runs on such machines compute in f32 throughout.
    ArenaScope scope(ctx.scratch());
    Tensor wide_a = to_f32(ctx, a.tensor), wide_b = to_f32(ctx, b.tensor);
    Tensor wide_c = c.dtype == DType::f32 ? c : ctx.scratch().tensor(DType::f32, c.shape);
    multiply(ctx, wide_c, {wide_a, a.transposed}, {wide_b, b.transposed}, k, store);
    if (c.dtype == DType::bf16) convert(ctx, c, wide_c);
    return;
  }
  Product p;
  p.m = c.rows();
  p.n = c.row_size();
  p.k = k;
  p.a = a.tensor.data;
  p.a_row_stride = a.row_stride();
  p.a_column_stride = a.column_stride();
  p.b = b.tensor.data;
  p.b_row_stride = b.row_stride();
  p.b_column_stride = b.column_stride();
  p.c = c.data;
  p.c_row_stride = c.row_stride;
  p.operands = a.tensor.dtype;
  p.result = c.dtype;
  p.accumulate = store == Store::accumulate;
  ctx.gemm().run(ctx.pool(), p);
}

double flops(const Tensor& c, int64_t k) { return 2.0 * static_cast<double>(c.elements()) * static_cast<double>(k); }

}  // namespace

void matmul_nt(Context& ctx, const Tensor& y, const Tensor& x, const Tensor& w, Store store) {
  ProfileScope scope(ctx.profiler(), "matmul", flops(y, x.row_size()), bytes_of(y, x, w));
  if (any_reference(y, x, w)) return ref::matmul_nt(y, x, w, store);
  multiply(ctx, y, {x, false}, {w, true}, x.row_size(), store);
}

void matmul_nn(Context& ctx, const Tensor& dx, const Tensor& dy, const Tensor& w, Store store) {
  ProfileScope scope(ctx.profiler(), "matmul", flops(dx, w.rows()), bytes_of(dx, dy, w));
  if (any_reference(dx, dy, w)) return ref::matmul_nn(dx, dy, w, store);
  multiply(ctx, dx, {dy, false}, {w, false}, w.rows(), store);
}

void matmul_tn(Context& ctx, const Tensor& dw, const Tensor& dy, const Tensor& x, Store store) {
  ProfileScope scope(ctx.profiler(), "matmul", flops(dw, x.rows()), bytes_of(dw, dy, x));
  if (any_reference(dw, dy, x)) return ref::matmul_tn(dw, dy, x, store);
  multiply(ctx, dw, {dy, true}, {x, false}, x.rows(), store);
}

}  // namespace tandem::kernels
