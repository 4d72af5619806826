#include "kernels/matmul.h"

#include <gtest/gtest.h>
#include <sys/time.h>

#include <chrono>
#include <csignal>

#include "base/error.h"
#include "kernels/product_case.h"

namespace tandem::testing {
namespace {

void by_own_kernels(Context& ctx, const Case& c, const Tensor& to, const Tensor& a, const Tensor& b) {
  ctx.gemm().run(ctx.pool(), product_of(c, to, a, b), Gemm::By::own);
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
      expect_same_bits_for_threads(
          {.form = form, .m = 517, .n = 190, .k = 65, .operands = operands, .store = Store::accumulate}, multiply);
    }
  }
}

// Whichever implementation the rules choose: every number of rows and columns of a last tile, sums of several blocks,
// odd lengths, rows that would share the same few sets of a cache.
TEST(OwnProducts, AgreeWithTheReference) {
  Context& ctx = context();
  for (DType operands : {DType::f32, DType::bf16}) {
    if (operands == DType::bf16 && !has_bf16_products(ctx.isa())) continue;
    for (Form form : {Form::nt, Form::nn, Form::tn}) {
      for (int64_t m : {1, 2, 5, 11, 12, 25, 31}) {
        check({.form = form, .m = m, .n = 33, .k = 34, .operands = operands}, by_own_kernels);
        check({.form = form, .m = m, .n = 70, .k = 19, .operands = operands, .store = Store::accumulate, .gap = 3},
              by_own_kernels);
      }
      for (int64_t n : {1, 8, 15, 16, 17, 32, 47, 131}) {
        check({.form = form, .m = 13, .n = n, .k = 1, .operands = operands}, by_own_kernels);
        check({.form = form, .m = 50, .n = n, .k = 40, .operands = operands, .gap = 1}, by_own_kernels);
      }
      for (int64_t k : {450, 1001, 2048}) {
        check({.form = form, .m = 100, .n = 66, .k = k, .operands = operands}, by_own_kernels);
        check({.form = form, .m = 66, .n = 100, .k = k, .operands = operands, .store = Store::accumulate},
              by_own_kernels);
      }
      check({.form = form, .m = 20, .n = 40, .k = 512, .operands = operands, .gap = 512}, by_own_kernels);
      if (operands == DType::bf16) {
        check({.form = form, .m = 37, .n = 45, .k = 1003, .operands = operands, .result = DType::bf16, .gap = 2},
              by_own_kernels);
      }
    }
  }
}

TEST(OwnProducts, SameBitsForAnyNumberOfThreads) {
  for (DType operands : {DType::f32, DType::bf16}) {
    if (operands == DType::bf16 && !has_bf16_products(context().isa())) continue;
    for (Form form : {Form::nt, Form::nn, Form::tn}) {
      expect_same_bits_for_threads(
          {.form = form, .m = 517, .n = 390, .k = 1200, .operands = operands, .store = Store::accumulate},
          by_own_kernels);
    }
  }
}

// An empty sum is zero, and nothing is read.
TEST(OwnProducts, WithoutTerms) {
  Guarded to(DType::f32, {3, 40});
  to.fill_normal(1);
  Product p{.m = 3, .n = 40, .k = 0, .c = to.tensor().data, .c_row_stride = 40};
  context().gemm().run(context().pool(), p, Gemm::By::own);
  for (int64_t r = 0; r < 3; ++r) {
    for (int64_t i = 0; i < 40; ++i) EXPECT_EQ(load_element(to, r, i), 0);
  }
}

TEST(OwnProducts, TheChoiceFollowsFromTheProduct) {
  Product forward{.m = 2048,
                  .n = 192,
                  .k = 192,
                  .a_row_stride = 192,
                  .b_row_stride = 1,
                  .b_column_stride = 192,
                  .c_row_stride = 192,
                  .operands = DType::bf16,
                  .result = DType::bf16};
  Product gradient = weight_gradient(192, 192, 2048, DType::bf16);
  EXPECT_FALSE(own_kernels(Isa::avx512_bf16, forward));
  EXPECT_TRUE(own_kernels(Isa::avx512_bf16, gradient));
  EXPECT_TRUE(own_kernels(Isa::amx, gradient));
  EXPECT_TRUE(own_kernels(Isa::amx, forward));
  Product with_gaps = forward;
  with_gaps.c_row_stride = 224;
  EXPECT_TRUE(own_kernels(Isa::avx512_bf16, with_gaps));
  gradient.operands = DType::f32;
  EXPECT_FALSE(own_kernels(Isa::avx512_bf16, gradient));
  EXPECT_FALSE(own_kernels(Isa::amx, gradient));
  if (context().isa() == Isa::amx) {
    EXPECT_EQ(context().gemm().implementation(forward), "tandem, amx");
  }
  if (context().isa() != Isa::avx512_bf16) return;
  EXPECT_TRUE(context().gemm().implementation(forward).starts_with("oneDNN"));
  EXPECT_TRUE(context().gemm().implementation(with_gaps).starts_with("tandem"));
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
