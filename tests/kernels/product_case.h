// Products of matrices for tests: operands of every layout and type, compared with the reference.
#pragma once

#include <gtest/gtest.h>

#include "kernels/compare.h"
#include "kernels/gemm.h"
#include "kernels/guarded.h"
#include "kernels/matmul.h"

namespace tandem::testing {

using kernels::Store;

enum class Form { nt, nn, tn };

// c[m, n] (+)= sum over k: the operands' shapes in memory.
struct Case {
  Form form;
  int64_t m, n, k;
  DType operands = DType::f32;
  DType result = DType::f32;
  Store store = Store::overwrite;
  int64_t gap = 0;  // columns between rows
};

inline Shape shape_a(const Case& c) { return c.form == Form::tn ? Shape{c.k, c.m} : Shape{c.m, c.k}; }
inline Shape shape_b(const Case& c) { return c.form == Form::nt ? Shape{c.n, c.k} : Shape{c.k, c.n}; }

inline void multiply(Context& ctx, const Case& c, const Tensor& to, const Tensor& a, const Tensor& b) {
  switch (c.form) {
    case Form::nt: return kernels::matmul_nt(ctx, to, a, b, c.store);
    case Form::nn: return kernels::matmul_nn(ctx, to, a, b, c.store);
    case Form::tn: return kernels::matmul_tn(ctx, to, a, b, c.store);
  }
}

// The same product by one of the two implementations.
inline Product product_of(const Case& c, const Tensor& to, const Tensor& a, const Tensor& b) {
  Product p{.m = c.m, .n = c.n, .k = c.k};
  p.a = a.data;
  p.a_row_stride = c.form == Form::tn ? 1 : a.row_stride;
  p.a_column_stride = c.form == Form::tn ? a.row_stride : 1;
  p.b = b.data;
  p.b_row_stride = c.form == Form::nt ? 1 : b.row_stride;
  p.b_column_stride = c.form == Form::nt ? b.row_stride : 1;
  p.c = to.data;
  p.c_row_stride = to.row_stride;
  p.operands = c.operands;
  p.result = c.result;
  p.accumulate = c.store == Store::accumulate;
  return p;
}

// A gradient of weights [m, n] over k rows, to which it is added: the left operand is turned.
inline Product weight_gradient(int64_t m, int64_t n, int64_t k, DType operands) {
  return {.m = m,
          .n = n,
          .k = k,
          .a_row_stride = 1,
          .a_column_stride = m,
          .b_row_stride = n,
          .c_row_stride = n,
          .operands = operands,
          .accumulate = true};
}

using Multiply = void (*)(Context&, const Case&, const Tensor&, const Tensor&, const Tensor&);

inline void check(const Case& c, Multiply measured = multiply) {
  SCOPED_TRACE(::testing::Message() << "form " << static_cast<int>(c.form) << ", m " << c.m << ", n " << c.n << ", k "
                                    << c.k << ", operands " << dtype_name(c.operands) << ", result "
                                    << dtype_name(c.result) << ", store " << static_cast<int>(c.store) << ", gap "
                                    << c.gap);
  Shape sa = shape_a(c), sb = shape_b(c);
  Guarded a(c.operands, sa, sa[1] + c.gap), b(c.operands, sb, sb[1] + c.gap);
  Guarded result(c.result, {c.m, c.n}, c.n + c.gap);
  a.fill_normal(1);
  b.fill_normal(2);
  if (c.store == Store::accumulate) result.fill_normal(3);
  Guarded before(c.result, {c.m, c.n});
  before.copy(result);
  InDouble a64(a), b64(b), want(before);
  multiply(context(), c, want, a64, b64);
  measured(context(), c, result, a, b);
  EXPECT_TRUE(a.intact() && b.intact() && result.intact());

  // k products and k - 1 sums in f32, one more for accumulation: (k + 2) roundings of the sum of magnitudes.
  InDouble size_a(a), size_b(b);
  auto magnitude = [](Guarded& t) { t.set([&](int64_t r, int64_t i) { return std::abs(load_element(t, r, i)); }); };
  magnitude(size_a);
  magnitude(size_b);
  InDouble sizes(before);
  magnitude(sizes);
  if (c.store == Store::overwrite) sizes.fill(0);
  Case sum = c;
  sum.store = Store::accumulate;
  multiply(context(), sum, sizes, size_a, size_b);
  double factor = (static_cast<double>(c.k) + 2) * kUnit;
  expect_close(result, want, "result", [&](int64_t r, int64_t i) { return factor * load_element(sizes, r, i); });
}

// Sums are formed in the same order whoever takes which chunk.
template <class Multiply>
void expect_same_bits_for_threads(const Case& c, const Multiply& product) {
  Guarded a(c.operands, shape_a(c)), b(c.operands, shape_b(c)), first(DType::f32, {c.m, c.n});
  a.fill_normal(1);
  b.fill_normal(2);
  first.fill_normal(3);
  product(context(1), c, first, a, b);
  for (int threads : {2, 3}) {
    Guarded other(DType::f32, {c.m, c.n});
    other.fill_normal(3);
    product(context(threads), c, other, a, b);
    EXPECT_TRUE(same_bits(first, other)) << threads;
  }
}

}  // namespace tandem::testing
