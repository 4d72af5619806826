#include "kernels/packed_matmul.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <memory>

#include "base/error.h"
#include "kernels/compare.h"
#include "kernels/guarded.h"

namespace tandem::testing {
namespace {

using kernels::PackedWeight;
using kernels::Store;
using kernels::WeightFormat;

constexpr WeightFormat kFormats[] = {WeightFormat::f32, WeightFormat::bf16, WeightFormat::int8, WeightFormat::int4};

struct Case {
  WeightFormat format;
  int64_t m, n, k;
  DType x = DType::f32;
  DType y = DType::f32;
  Store store = Store::overwrite;
  int64_t gap = 0;  // columns between rows
};

::testing::Message describe(const Case& c) {
  return ::testing::Message() << weight_format_name(c.format) << ", m " << c.m << ", n " << c.n << ", k " << c.k
                              << ", x " << dtype_name(c.x) << ", y " << dtype_name(c.y) << ", store "
                              << static_cast<int>(c.store) << ", gap " << c.gap;
}

PackedWeight random_weight(WeightFormat format, int64_t n, int64_t k) {
  Guarded w(DType::f32, {n, k}, k + 3);
  w.fill_normal(2);
  return pack(context(), w, format);
}

// The activations as the format rounds them, in double: products with rows of the unit matrix.
std::unique_ptr<Guarded> rounded_activations(const Tensor& x, WeightFormat format) {
  Guarded unit(DType::f32, {x.row_size(), x.row_size()});
  unit.set([](int64_t r, int64_t i) { return r == i ? 1.0 : 0.0; });
  // In f32 the unit matrix is exact; the rounding is that of `format`, so ask for it there where it is exact, too.
  auto out = std::make_unique<Guarded>(DType::f64, x.shape);
  kernels::packed_matmul(context(), *out, x, pack(context(), unit, format));
  return out;
}

void check(const Case& c) {
  SCOPED_TRACE(describe(c));
  PackedWeight weight = random_weight(c.format, c.n, c.k);
  Guarded x(c.x, {c.m, c.k}, c.k + c.gap), y(c.y, {c.m, c.n}, c.n + c.gap), before(c.y, {c.m, c.n});
  x.fill_normal(1);
  if (c.store == Store::accumulate) y.fill_normal(3);
  before.copy(y);
  InDouble want(before);
  kernels::packed_matmul(context(), want, x, weight, c.store);
  kernels::packed_matmul(context(), y, x, weight, c.store);
  EXPECT_TRUE(x.intact() && y.intact());

  // A path of at most k products and sums in f32 (integers of a group are exact), the scales and the accumulation.
  std::unique_ptr<Guarded> rounded = rounded_activations(x, c.format);
  double factor = (static_cast<double>(c.k) + 5) * kUnit;
  Guarded sizes(DType::f64, {c.m, c.n});
  sizes.set([&](int64_t r, int64_t i) {
    double size = c.store == Store::accumulate ? std::abs(load_element(before, r, i)) : 0;
    for (int64_t k = 0; k < c.k; ++k) size += std::abs(load_element(*rounded, r, k) * weight.element(i, k));
    return size;
  });
  expect_close(y, want, "y", [&](int64_t r, int64_t i) { return factor * load_element(sizes, r, i); });
}

// Through what a file holds and back: not a bit changes, the padding of panels and groups included.
TEST(PackedWeights, AsFilesHoldThem) {
  for (WeightFormat format : {WeightFormat::int8, WeightFormat::int4}) {
    for (int64_t n : {1, 32, 45}) {
      for (int64_t k : {1, 31, 64, 77}) {
        SCOPED_TRACE(::testing::Message() << weight_format_name(format) << " " << n << " " << k);
        PackedWeight weight = random_weight(format, n, k);
        Storage steps(DType::u8, kernels::steps_shape(format, n, k));
        Storage scales(kernels::scales_dtype(format), kernels::scales_shape(format, n, k));
        kernels::StoredWeight stored{steps.tensor(), scales.tensor()};
        kernels::unpack_steps(weight, stored);
        PackedWeight again = kernels::pack_steps(stored, format, k, "here");
        ASSERT_EQ(again.bytes(), weight.bytes());
        for (int64_t p = 0; p < weight.panels(); ++p) {
          ASSERT_EQ(std::memcmp(again.panel(p), weight.panel(p), static_cast<size_t>(weight.panel_bytes())), 0) << p;
        }
        for (int64_t r = 0; r < n; ++r) {
          double scale = load_element(stored.scales, r, 0);
          int step = format == WeightFormat::int8 ? steps.tensor().row<uint8_t>(r)[0] - 128
                                                  : (steps.tensor().row<uint8_t>(r)[0] & 0xF) - 8;
          ASSERT_EQ(weight.element(r, 0), scale * step);
        }
      }
    }
  }
}

TEST(PackedWeights, DamagedSteps) {
  PackedWeight weight = random_weight(WeightFormat::int8, 3, 40);
  Storage steps(DType::u8, {3, 40}), scales(DType::f32, {3});
  kernels::StoredWeight stored{steps.tensor(), scales.tensor()};
  auto complaint = [&] {
    try {
      kernels::pack_steps(stored, WeightFormat::int8, 40, "'w' of file");
    } catch (const InputError& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  kernels::unpack_steps(weight, stored);
  EXPECT_EQ(complaint(), "");
  scales.tensor().as<float>()[1] = std::numeric_limits<float>::infinity();
  EXPECT_NE(complaint().find("'w' of file"), std::string::npos);
  kernels::unpack_steps(weight, stored);
  steps.tensor().row<uint8_t>(2)[7] = 0;
  EXPECT_NE(complaint().find("1..255"), std::string::npos);
}

TEST(PackedMatmul, AwkwardSizes) {
  for (WeightFormat format : kFormats) {
    for (int64_t m : {1, 2, 3, 5, 8, 13}) {
      for (int64_t n : {1, 31, 32, 65}) {
        for (int64_t k : {1, 7, 32, 63, 64, 65, 130}) {
          check({.format = format, .m = m, .n = n, .k = k});
          check({.format = format, .m = m, .n = n, .k = k, .store = Store::accumulate, .gap = 3});
        }
      }
    }
  }
}

TEST(PackedMatmul, Types) {
  for (WeightFormat format : kFormats) {
    for (DType x : {DType::f32, DType::bf16}) {
      for (DType y : {DType::f32, DType::bf16}) {
        for (Store store : {Store::overwrite, Store::accumulate}) {
          check({.format = format, .m = 7, .n = 50, .k = 100, .x = x, .y = y, .store = store, .gap = 5});
        }
      }
    }
  }
}

// Large enough for several chunks in either direction.
TEST(PackedMatmul, ChunkedSizes) {
  for (WeightFormat format : kFormats) {
    check({.format = format, .m = 300, .n = 190, .k = 515});
    check({.format = format, .m = 1, .n = 1030, .k = 600});
  }
}

// A row's bits depend neither on the number of rows, nor on where it stands, nor on the number of threads.
TEST(PackedMatmul, ARowIsTheSameBitsInEveryBatch) {
  constexpr int64_t kMost = 200, n = 133, k = 517;
  for (WeightFormat format : kFormats) {
    PackedWeight weight = random_weight(format, n, k);
    Guarded x(DType::f32, {kMost, k});
    x.fill_normal(1);
    Guarded alone(DType::f32, {kMost, n});
    for (int64_t r = 0; r < kMost; ++r) {
      kernels::packed_matmul(context(1), alone.tensor().slice_rows(r, r + 1), x.tensor().slice_rows(r, r + 1), weight);
    }
    for (int64_t m : {2, 3, 4, 7, 8, 16, 33, 64, 200}) {
      for (int64_t first : {int64_t{0}, (kMost - m) / 3, kMost - m}) {
        int threads = 1 + static_cast<int>((m + first) % 3);
        Guarded y(DType::f32, {m, n}, n + 1);
        kernels::packed_matmul(context(threads), y, x.tensor().slice_rows(first, first + m), weight);
        EXPECT_TRUE(same_bits(y, alone.tensor().slice_rows(first, first + m)))
            << weight_format_name(format) << ", m " << m << " from " << first << ", " << threads << " threads";
      }
    }
  }
}

TEST(PackedMatmul, SameBitsForAnyNumberOfThreads) {
  for (WeightFormat format : kFormats) {
    PackedWeight weight = random_weight(format, 190, 65);
    Guarded x(DType::bf16, {517, 65}), first(DType::f32, {517, 190});
    x.fill_normal(1);
    first.fill_normal(3);
    kernels::packed_matmul(context(1), first, x, weight, Store::accumulate);
    for (int threads : {2, 3}) {
      Guarded other(DType::f32, {517, 190});
      other.fill_normal(3);
      kernels::packed_matmul(context(threads), other, x, weight, Store::accumulate);
      EXPECT_TRUE(same_bits(first, other)) << weight_format_name(format) << ", " << threads << " threads";
    }
  }
}

// The integers are the same everywhere, and the sums of their products with the scales have one order. (Pairs of bf16
// products are rounded in a way of their own where the processor multiplies them.)
TEST(PackedMatmul, QuantisedResultsAreTheSameBitsOnEveryInstructionSet) {
  Context other(1, Isa::avx2);
  for (WeightFormat format : {WeightFormat::f32, WeightFormat::int8, WeightFormat::int4}) {
    PackedWeight weight = random_weight(format, 77, 517);
    for (int64_t m : {1, 5, 30}) {
      Guarded x(DType::bf16, {m, 517}), y(DType::f32, {m, 77}), here(DType::f32, {m, 77});
      x.fill_normal(1);
      kernels::packed_matmul(context(), here, x, weight);
      kernels::packed_matmul(other, y, x, weight);
      EXPECT_TRUE(same_bits(here, y)) << weight_format_name(format) << ", m " << m;
    }
  }
}

// The largest integers of either sign: nothing saturates on the way.
TEST(PackedMatmul, LargestIntegers) {
  for (double sign : {1.0, -1.0}) {
    Guarded w(DType::f32, {33, 128}), x(DType::f32, {2, 128}), y(DType::f32, {2, 33});
    w.set([&](int64_t n, int64_t) { return n % 2 ? 127.0 : -127.0; });
    x.fill(sign * 127);
    kernels::packed_matmul(context(), y, x, pack(context(), w, WeightFormat::int8));
    for (int64_t n = 0; n < 33; ++n) EXPECT_EQ(load_element(y, 1, n), sign * (n % 2 ? 1 : -1) * 127 * 127 * 128);
  }
}

TEST(PackedMatmul, NotANumberSpreadsToItsOwnRowOnly) {
  for (WeightFormat format : kFormats) {
    for (double bad : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
      PackedWeight weight = random_weight(format, 40, 100);
      Guarded x(DType::f32, {3, 100}), y(DType::f32, {3, 40});
      x.fill_normal(1);
      store_element(x, 1, 77, bad);
      kernels::packed_matmul(context(), y, x, weight);
      for (int64_t i = 0; i < 40; ++i) {
        EXPECT_TRUE(std::isfinite(load_element(y, 0, i)) && std::isfinite(load_element(y, 2, i)));
        EXPECT_FALSE(std::isfinite(load_element(y, 1, i)));
      }
    }
  }
}

TEST(PackedMatmul, NoRows) {
  Guarded x(DType::f32, {0, 9}), y(DType::f32, {0, 4});
  kernels::packed_matmul(context(), y, x, random_weight(WeightFormat::f32, 4, 9));
}

TEST(PackedMatmul, WrongShapesAndTypesAreRefused) {
  PackedWeight weight = random_weight(WeightFormat::bf16, 4, 9);
  Guarded x(DType::f32, {3, 9}), y(DType::f32, {3, 4}), narrow(DType::f32, {3, 8}), ids(DType::i32, {3, 9});
  EXPECT_THROW(kernels::packed_matmul(context(), y, narrow, weight), LogicError);
  EXPECT_THROW(kernels::packed_matmul(context(), narrow, x, weight), LogicError);
  EXPECT_THROW(kernels::packed_matmul(context(), y, ids, weight), LogicError);
  EXPECT_THROW(kernels::pack(context(), Tensor(nullptr, DType::f32, {0, 9}), WeightFormat::f32), LogicError);
}

TEST(PackedWeight, F32IsExactAndBf16Rounds) {
  Guarded w(DType::f32, {37, 45}, 50);
  w.fill_normal(4);
  PackedWeight exact = pack(context(), w, WeightFormat::f32), rounded = pack(context(), w, WeightFormat::bf16);
  for (int64_t n = 0; n < 37; ++n) {
    for (int64_t k = 0; k < 45; ++k) {
      EXPECT_EQ(exact.element(n, k), load_element(w, n, k));
      EXPECT_EQ(rounded.element(n, k), round_to_bf16(load_element(w, n, k)));
    }
  }
}

TEST(PackedWeight, Bytes) {
  Guarded w(DType::f32, {64, 128});
  w.fill_normal(4);
  EXPECT_EQ(pack(context(), w, WeightFormat::f32).bytes(), 64 * 128 * 4);
  EXPECT_EQ(pack(context(), w, WeightFormat::bf16).bytes(), 64 * 128 * 2);
  EXPECT_EQ(pack(context(), w, WeightFormat::int8).bytes(), 64 * 128 + 64 * 4);
  EXPECT_EQ(pack(context(), w, WeightFormat::int4).bytes(), 64 * 128 / 2 + 64 * 128 / 32 * 2);
}

// Half a step of the output's scale, and the roundings of the division and of the scale.
TEST(PackedWeight, Int8IsWithinHalfAStep) {
  Guarded w(DType::f32, {70, 150}, 153);
  w.fill_normal(4);
  for (int64_t k = 0; k < 150; ++k) store_element(w, 3, k, 0);
  PackedWeight packed = pack(context(), w, WeightFormat::int8);
  for (int64_t n = 0; n < 70; ++n) {
    double most = 0;
    for (int64_t k = 0; k < 150; ++k) most = std::max(most, std::abs(load_element(w, n, k)));
    for (int64_t k = 0; k < 150; ++k) {
      EXPECT_LE(std::abs(packed.element(n, k) - load_element(w, n, k)), most / 127 * (0.5 + 127 * 4 * kUnit));
    }
  }
}

// No group fits worse than the plain choice, the largest magnitude at step -8, would.
TEST(PackedWeight, Int4FitsEveryGroup) {
  constexpr int64_t kGroup = 32, n = 70, k = 150;
  Guarded w(DType::f32, {n, k}, k + 3);
  w.fill_normal(4);
  for (int64_t i = 0; i < k; ++i) store_element(w, 3, i, 0);
  PackedWeight packed = pack(context(), w, WeightFormat::int4);
  double all = 0, size = 0;
  for (int64_t r = 0; r < n; ++r) {
    for (int64_t begin = 0; begin < k; begin += kGroup) {
      int64_t end = std::min(k, begin + kGroup);
      double top = 0, error = 0, plain = 0;
      for (int64_t i = begin; i < end; ++i) {
        double value = load_element(w, r, i);
        if (std::abs(value) > std::abs(top)) top = value;
      }
      double step = round_to_bf16(top / -8);
      for (int64_t i = begin; i < end; ++i) {
        double value = load_element(w, r, i);
        double q = step == 0 ? 0 : std::min(7.0, std::max(-8.0, std::nearbyint(value / step)));
        plain += std::pow(value - q * step, 2);
        error += std::pow(value - packed.element(r, i), 2);
        size += value * value;
      }
      EXPECT_LE(error, plain * (1 + 1e-6));
      all += error;
    }
  }
  // Uniform errors of a step of 2.4 / 8 deviations (the expected largest of 32 normal numbers) would be 0.087.
  EXPECT_LT(std::sqrt(all / size), 0.087);
}

TEST(PackedWeight, OnlyFiniteWeightsAreQuantised) {
  Guarded w(DType::f32, {5, 40});
  w.fill_normal(4);
  store_element(w, 3, 17, std::numeric_limits<double>::infinity());
  EXPECT_THROW(pack(context(), w, WeightFormat::int8), InputError);
  EXPECT_THROW(pack(context(), w, WeightFormat::int4), InputError);
  EXPECT_EQ(pack(context(), w, WeightFormat::f32).element(3, 17), std::numeric_limits<double>::infinity());
}

}  // namespace
}  // namespace tandem::testing
