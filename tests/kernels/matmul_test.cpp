#include "kernels/matmul.h"

#include <gtest/gtest.h>
#include <sys/time.h>

#include <chrono>
#include <csignal>

#include "base/error.h"
#include "kernels/compare.h"
#include "kernels/guarded.h"

namespace tandem::testing {
namespace {

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

Shape shape_a(const Case& c) { return c.form == Form::tn ? Shape{c.k, c.m} : Shape{c.m, c.k}; }
Shape shape_b(const Case& c) { return c.form == Form::nt ? Shape{c.n, c.k} : Shape{c.k, c.n}; }

void multiply(Context& ctx, const Case& c, const Tensor& to, const Tensor& a, const Tensor& b) {
  switch (c.form) {
    case Form::nt: return kernels::matmul_nt(ctx, to, a, b, c.store);
    case Form::nn: return kernels::matmul_nn(ctx, to, a, b, c.store);
    case Form::tn: return kernels::matmul_tn(ctx, to, a, b, c.store);
  }
}

void check(const Case& c) {
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
  multiply(context(), c, result, a, b);
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

TEST(Matmul, AwkwardSizesInF32) {
  for (Form form : {Form::nt, Form::nn, Form::tn}) {
    for (int64_t m : {1, 7, 64, 65}) {
      for (int64_t n : {1, 16, 17, 63}) {
        for (int64_t k : {1, 7, 64, 130}) {
          check({.form = form, .m = m, .n = n, .k = k});
          check({.form = form, .m = m, .n = n, .k = k, .store = Store::accumulate, .gap = 3});
        }
      }
    }
  }
}

TEST(Matmul, AwkwardSizesInBf16) {
  for (Form form : {Form::nt, Form::nn, Form::tn}) {
    for (int64_t m : {1, 7, 65}) {
      for (int64_t n : {1, 16, 63}) {
        for (int64_t k : {1, 7, 64, 65}) {
          check({.form = form, .m = m, .n = n, .k = k, .operands = DType::bf16, .gap = 5});
          check({.form = form, .m = m, .n = n, .k = k, .operands = DType::bf16, .result = DType::bf16});
          check({.form = form, .m = m, .n = n, .k = k, .operands = DType::bf16, .store = Store::accumulate});
        }
      }
    }
  }
}

// Large enough for several chunks in either direction, with a last chunk of another size.
TEST(Matmul, ChunkedSizes) {
  for (DType operands : {DType::f32, DType::bf16}) {
    for (Form form : {Form::nt, Form::nn, Form::tn}) {
      check({.form = form, .m = 517, .n = 190, .k = 65, .operands = operands});
      check({.form = form, .m = 100, .n = 1030, .k = 97, .operands = operands, .store = Store::accumulate});
    }
  }
}

TEST(Matmul, SameBitsForAnyNumberOfThreads) {
  for (DType operands : {DType::f32, DType::bf16}) {
    for (Form form : {Form::nt, Form::nn, Form::tn}) {
      Case c{.form = form, .m = 517, .n = 190, .k = 65, .operands = operands, .store = Store::accumulate};
      Guarded a(operands, shape_a(c)), b(operands, shape_b(c));
      a.fill_normal(1);
      b.fill_normal(2);
      Guarded first(DType::f32, {c.m, c.n});
      first.fill_normal(3);
      multiply(context(1), c, first, a, b);
      for (int threads : {2, 3}) {
        Guarded other(DType::f32, {c.m, c.n});
        other.fill_normal(3);
        multiply(context(threads), c, other, a, b);
        EXPECT_TRUE(same_bits(first, other)) << threads;
      }
    }
  }
}

TEST(Matmul, Bf16InDoubleRoundsTheResult) {
  Guarded a(DType::f64, {3, 9}), b(DType::f64, {4, 9}), c(DType::bf16_in_f64, {3, 4}), exact(DType::f64, {3, 4});
  a.fill_normal(1);
  b.fill_normal(2);
  kernels::matmul_nt(context(), c, a, b);
  kernels::matmul_nt(context(), exact, a, b);
  for (int64_t r = 0; r < 3; ++r) {
    for (int64_t i = 0; i < 4; ++i) EXPECT_EQ(load_element(c, r, i), round_to_bf16(load_element(exact, r, i)));
  }
}

TEST(Matmul, OtherTypesAreRefused) {
  Guarded a(DType::f32, {3, 9}), b(DType::bf16, {4, 9}), c(DType::f32, {3, 4});
  EXPECT_THROW(kernels::matmul_nt(context(), c, a, b), LogicError);
  Guarded d(DType::bf16, {3, 9}), e(DType::bf16, {3, 4});
  EXPECT_THROW(kernels::matmul_nt(context(), e, d, b, Store::accumulate), LogicError);
}

volatile std::sig_atomic_t g_signals = 0;

// Signals to the process, 20,000 per second while it lives.
class ManySignals {
 public:
  ManySignals() {
    struct sigaction action = {};
    action.sa_handler = [](int) { g_signals = g_signals + 1; };
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    sigaction(SIGALRM, &action, &before_);
    every(50);
  }
  ~ManySignals() {
    every(0);
    sigaction(SIGALRM, &before_, nullptr);
  }

 private:
  static void every(suseconds_t microseconds) {
    itimerval timer{.it_interval = {0, microseconds}, .it_value = {0, microseconds}};
    setitimer(ITIMER_REAL, &timer, nullptr);
  }
  struct sigaction before_ = {};
};

// Some of oneDNN's kernels use the stack pointer as a register like any other (kernels/gemm.cpp): a signal's frame
// would lie in the heap.
TEST(Matmul, SurvivesSignals) {
  for (Case c : {Case{.form = Form::nt, .m = 128, .n = 300, .k = 32, .gap = 32},
                 Case{.form = Form::nn, .m = 128, .n = 32, .k = 300, .gap = 32},
                 Case{.form = Form::tn, .m = 300, .n = 32, .k = 128, .gap = 32}}) {
    Shape sa = shape_a(c), sb = shape_b(c);
    Guarded a(c.operands, sa, sa[1] + c.gap), b(c.operands, sb, sb[1] + c.gap);
    Guarded want(c.result, {c.m, c.n}, c.n + c.gap), got(c.result, {c.m, c.n}, c.n + c.gap);
    a.fill_normal(1);
    b.fill_normal(2);
    multiply(context(1), c, want, a, b);
    g_signals = 0;
    ManySignals signals;
    auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(100);
    bool same = true;
    while (same && (std::chrono::steady_clock::now() < end || g_signals < 20)) {
      multiply(context(1), c, got, a, b);
      same = same_bits(got, want);
    }
    EXPECT_TRUE(same && a.intact() && b.intact() && got.intact()) << "form " << static_cast<int>(c.form);
  }
}

}  // namespace
}  // namespace tandem::testing
