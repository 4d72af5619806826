// AdamW with moments in bf16 and in 8 bits.
#include "kernels/adamw_state.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>

#include "kernels/adamw.h"
#include "kernels/chunks.h"
#include "kernels/compare.h"
#include "kernels/guarded.h"

namespace tandem::testing {
namespace {

using kernels::AdamWState;
using kernels::StateRounding;

constexpr int64_t kSizes[] = {1, 7, 16, 17, 65, 255, 256, 257, 700, kernels::kChunkElements + 300};

kernels::AdamWStep step_of(int64_t step) {
  return {.learning_rate = 3e-3, .weight_decay = 0.1, .gradient_scale = 0.37, .step = step};
}

// Moments of n elements between guard zones.
class State {
 public:
  State(DType dtype, int64_t n)
      : first_(dtype, {n}),
        second_(dtype, {n}),
        first_scale_(DType::f32, {kernels::state_blocks(n)}),
        second_scale_(DType::f32, {kernels::state_blocks(n)}) {
    size_t bytes = static_cast<size_t>(first_.tensor().bytes());
    std::memset(first_.tensor().data, 0, bytes);
    std::memset(second_.tensor().data, 0, bytes);
    first_scale_.fill(0);
    second_scale_.fill(0);
  }
  State(const State& other) : State(other.first_.tensor().dtype, other.first_.tensor().elements()) {
    first_.copy(other.first_);
    second_.copy(other.second_);
    first_scale_.copy(other.first_scale_);
    second_scale_.copy(other.second_scale_);
  }

  AdamWState tensors() const {
    if (!bytes()) return {first_, second_, {}, {}};
    return {first_, second_, first_scale_, second_scale_};
  }
  // Elements [begin, end), begin at a block.
  AdamWState part(int64_t begin, int64_t end) const {
    AdamWState all = tensors();
    AdamWState some{all.first.slice_rows(begin, end), all.second.slice_rows(begin, end), {}, {}};
    if (!bytes()) return some;
    some.first_scale = all.first_scale.slice_rows(begin / kernels::kStateBlock, kernels::state_blocks(end));
    some.second_scale = all.second_scale.slice_rows(begin / kernels::kStateBlock, kernels::state_blocks(end));
    return some;
  }
  bool bytes() const { return first_.tensor().dtype == DType::u8; }
  double first(int64_t i) const {
    if (!bytes()) return load_element(first_, i, 0);
    return scale(first_scale_, i) * kernels::first_moment_value(first_.tensor().as<uint8_t>()[i]);
  }
  double second(int64_t i) const {
    if (!bytes()) return load_element(second_, i, 0);
    return scale(second_scale_, i) * kernels::second_moment_value(second_.tensor().as<uint8_t>()[i]);
  }
  // Between neighbouring values around x, at most.
  double first_step(double x, int64_t i) const {
    return bytes() ? std::max(std::abs(x) / 8, 0x1p-17 * scale(first_scale_, i)) : std::abs(x) * 0x1p-7;
  }
  double second_step(double x, int64_t i) const {
    return bytes() ? std::max(x / 8, 0x1p-33 * scale(second_scale_, i)) : x * 0x1p-7;
  }
  bool same_as(const State& other) const {
    return same_bits(first_, other.first_) && same_bits(second_, other.second_) &&
           (!bytes() || (same_bits(first_scale_, other.first_scale_) && same_bits(second_scale_, other.second_scale_)));
  }
  bool intact() const { return first_.intact() && second_.intact() && first_scale_.intact() && second_scale_.intact(); }

  // Any codes, or any numbers: first moments of about 0.1, second ones around 0.01.
  void randomise(uint64_t seed) {
    Rng rng(seed, 0);
    for (int64_t i = 0; i < first_.tensor().elements(); ++i) {
      if (bytes()) {
        first_.tensor().as<uint8_t>()[i] = static_cast<uint8_t>(rng.below(256));
        second_.tensor().as<uint8_t>()[i] = static_cast<uint8_t>(1 + rng.below(255));
      } else {
        store_element(first_, i, 0, 0.1 * rng.normal());
        store_element(second_, i, 0, 0.001 + 0.01 * rng.uniform());
      }
    }
    first_scale_.set([&](int64_t, int64_t) { return 0.05 + rng.uniform(); });
    second_scale_.set([&](int64_t, int64_t) { return 0.05 + rng.uniform(); });
  }

  Guarded first_, second_, first_scale_, second_scale_;

 private:
  static double scale(const Tensor& t, int64_t i) { return t.as<float>()[i / kernels::kStateBlock]; }
};

class AdamWStateTest : public ::testing::TestWithParam<DType> {};

// The weight has the bound of the float32 kernel and one rounding more of each moment, by its scale. What is stored is
// the same as the reference's or, where a rounding of float32 decides, its neighbour: about once in a thousand times.
void check(DType dtype, int64_t n, bool with_compute, int64_t first_element) {
  SCOPED_TRACE(::testing::Message() << n << " elements from " << first_element);
  Guarded w(DType::f32, {n}), g(DType::f32, {n}), compute(DType::bf16, {n});
  w.fill_normal(1);
  g.fill_normal(2);
  State state(dtype, n);
  state.randomise(3);
  State before(state), want(state);
  InDouble w64(w), g64(g), w_before(w);
  kernels::AdamWStep step = step_of(7);
  StateRounding rounding{.stream = 5, .first_element = first_element};
  kernels::adamw(context(), w64, g64, want.tensors(), {}, step, rounding);
  kernels::adamw(context(), w, g, state.tensors(), with_compute ? compute.tensor() : Tensor(), step, rounding);
  double corrected1 = 1 - std::pow(0.9, 7.0), corrected2 = 1 - std::pow(0.95, 7.0);
  int64_t others = 0;
  for (int64_t i = 0; i < n; ++i) {
    double scaled = 0.37 * load_element(g64, i, 0);
    double m_terms = 0.9 * std::abs(before.first(i)) + 0.1 * std::abs(scaled);
    double v = 0.95 * before.second(i) + 0.05 * scaled * scaled;
    double change = step.learning_rate * m_terms / corrected1 / std::sqrt(v / corrected2);
    double allowed = kUnit * (3 * std::abs(load_element(w_before, i, 0)) + 17 * change);
    ASSERT_NEAR(load_element(w, i, 0), load_element(w64, i, 0), allowed) << i;
    double m_got = state.first(i), m_want = want.first(i), v_got = state.second(i), v_want = want.second(i);
    // A scale is a value of its block, divided.
    ASSERT_NEAR(m_got, m_want, state.first_step(m_want, i) + 8 * kUnit * std::abs(m_want)) << i;
    ASSERT_NEAR(v_got, v_want, state.second_step(v_want, i) + 10 * kUnit * v_want) << i;
    others += std::abs(m_got - m_want) > 8 * kUnit * std::abs(m_want);
    others += std::abs(v_got - v_want) > 10 * kUnit * v_want;
    if (with_compute) {
      ASSERT_EQ(load_element(compute, i, 0), round_to_bf16(load_element(w, i, 0)));
    }
  }
  EXPECT_LE(others, 1 + n / 200);
  EXPECT_TRUE(w.intact() && g.intact() && compute.intact() && state.intact());
}

TEST_P(AdamWStateTest, EqualsTheReference) {
  for (int64_t n : kSizes) {
    check(GetParam(), n, true, 0);
    check(GetParam(), n, false, 3 * kernels::kChunkElements);
  }
}

TEST_P(AdamWStateTest, SameBitsForAnyThreadsAndShares) {
  int64_t n = 3 * kernels::kChunkElements + 77, cut = kernels::kChunkElements;
  Guarded g(DType::f32, {n}), w0(DType::f32, {n});
  g.fill_normal(2);
  w0.fill_normal(1);
  State start(GetParam(), n);
  start.randomise(3);
  State one(start);
  Guarded w1(DType::f32, {n});
  w1.copy(w0);
  kernels::adamw(context(1), w1, g, one.tensors(), {}, step_of(3), {.stream = 2});
  for (int threads : {2, 3}) {
    State other(start);
    Guarded w(DType::f32, {n});
    w.copy(w0);
    kernels::adamw(context(threads), w, g, other.tensors(), {}, step_of(3), {.stream = 2});
    EXPECT_TRUE(same_bits(w, w1) && other.same_as(one)) << threads << " threads";
  }
  State shared(start);
  Guarded w(DType::f32, {n});
  w.copy(w0);
  for (auto [begin, end] : {std::pair{cut, n}, std::pair{int64_t{0}, cut}}) {
    kernels::adamw(context(), w.tensor().slice_rows(begin, end), g.tensor().slice_rows(begin, end),
                   shared.part(begin, end), {}, step_of(3), {.stream = 2, .first_element = begin});
  }
  EXPECT_TRUE(same_bits(w, w1) && shared.same_as(one)) << "in two shares";
  State again(start);
  kernels::adamw(context(), w, g, again.tensors(), {}, step_of(4), {.stream = 2});
  EXPECT_FALSE(again.same_as(one)) << "another step rounds with other numbers";
}

// Without gradient moments fall by their betas, by less than half a step of the format each time.
TEST_P(AdamWStateTest, MomentsFallByLessThanAStepOfTheFormat) {
  constexpr int64_t kElements = 4 * kernels::kStateBlock, kSteps = 300;
  constexpr double kBeta1 = 0.995, kBeta2 = 0.999;
  Guarded w(DType::f32, {kElements}), g(DType::f32, {kElements});
  Rng rng(1, 0);
  w.fill(1);
  g.set([&](int64_t, int64_t) { return 0.2 + 0.8 * rng.uniform(); });
  State state(GetParam(), kElements);
  kernels::AdamWStep step{.learning_rate = 1e-3, .beta1 = kBeta1, .beta2 = kBeta2, .step = 1};
  kernels::adamw(context(), w, g, state.tensors(), {}, step, {});
  double want_first = 0, want_second = 0, first = 0, second = 0;
  for (int64_t i = 0; i < kElements; ++i) {
    double gradient = load_element(g, i, 0);
    want_first += (1 - kBeta1) * gradient * std::pow(kBeta1, kSteps);
    want_second += (1 - kBeta2) * gradient * gradient * std::pow(kBeta2, kSteps);
  }
  g.fill(0);
  for (step.step = 2; step.step <= kSteps + 1; ++step.step) {
    kernels::adamw(context(), w, g, state.tensors(), {}, step, {});
  }
  for (int64_t i = 0; i < kElements; ++i) {
    first += state.first(i);
    second += state.second(i);
  }
  // A value that falls by a share b of itself is rounded by at most one step, s of itself, with probability b / s: a
  // variance of b s each time, and s^2 / 4 the first time. Five deviations of the mean of as many elements, in which
  // the larger ones weigh up to twice as much.
  double width = GetParam() == DType::u8 ? 0x1p-3 : 0x1p-7;
  auto allowed = [&](double share) {
    return 5 * std::sqrt(2 * (kSteps * share * width + width * width / 4) / kElements);
  };
  EXPECT_NEAR(first / want_first, 1, allowed(1 - kBeta1));
  EXPECT_NEAR(second / want_second, 1, allowed(1 - kBeta2));
  EXPECT_LT(allowed(1 - kBeta2), 0.1) << "moments that stay where they are would be 1.35 times as large";
}

TEST_P(AdamWStateTest, NothingStaysNothing) {
  State state(GetParam(), 300);
  Guarded w(DType::f32, {300}), g(DType::f32, {300});
  w.fill(2);
  g.fill(0);
  kernels::adamw(context(), w, g, state.tensors(), {}, step_of(1), {});
  for (int64_t i = 0; i < 300; ++i) {
    EXPECT_EQ(load_element(w, i, 0), 2.0f * static_cast<float>(1 - 3e-3 * 0.1));
    EXPECT_EQ(state.first(i), 0);
    EXPECT_EQ(state.second(i), 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, AdamWStateTest, ::testing::Values(DType::bf16, DType::u8),
                         [](const auto& p) { return p.param == DType::u8 ? "Bits8" : "Bf16"; });

// Betas of 1 and no gradient: what is read is written again, all codes of them but that of -0, which becomes 0.
TEST(AdamWState8Bit, CodesComeBack) {
  State state(DType::u8, 256);
  for (int i = 0; i < 256; ++i) {
    state.first_.tensor().as<uint8_t>()[i] = static_cast<uint8_t>(i == 128 ? 1 : i);
    state.second_.tensor().as<uint8_t>()[i] = static_cast<uint8_t>(255 - i);
  }
  state.first_scale_.fill(0.25);
  state.second_scale_.fill(8);
  State before(state);
  Guarded w(DType::f32, {256}), g(DType::f32, {256});
  w.fill(1);
  g.fill(0);
  kernels::adamw(context(), w, g, state.tensors(), {}, {.learning_rate = 1, .beta1 = 1, .beta2 = 1}, {});
  EXPECT_TRUE(state.same_as(before));
}

TEST(AdamWState8Bit, FormatsAreAsDescribed) {
  EXPECT_EQ(kernels::first_moment_value(0), 0);
  EXPECT_EQ(kernels::first_moment_value(1), 0x1p-17);
  EXPECT_EQ(kernels::first_moment_value(8), 0x1p-14);
  EXPECT_EQ(kernels::first_moment_value(127), 1.875);
  EXPECT_EQ(kernels::first_moment_value(255), -1.875);
  EXPECT_EQ(kernels::second_moment_value(0), 0);
  EXPECT_EQ(kernels::second_moment_value(1), 0x1p-33);
  EXPECT_EQ(kernels::second_moment_value(255), 1.875);
  for (int code = 1; code < 256; ++code) {
    auto byte = static_cast<uint8_t>(code);
    EXPECT_LT(kernels::second_moment_value(static_cast<uint8_t>(code - 1)), kernels::second_moment_value(byte));
  }
}

// Beside an element with gradients of 1 others have far smaller ones: each takes steps of about the learning rate all
// the same, as in float32, down to where the format ends, and smaller ones below.
TEST(AdamWState8Bit, SmallNeighboursNeitherStopNorJump) {
  Guarded w(DType::f32, {256}), g(DType::f32, {256});
  w.fill(0);
  g.set([](int64_t i, int64_t) { return std::pow(10.0, -static_cast<double>(i % 10)); });
  State state(DType::u8, 256);
  constexpr int kSteps = 100;
  for (int step = 1; step <= kSteps; ++step) {
    kernels::adamw(context(), w, g, state.tensors(), {}, {.learning_rate = 1e-3, .eps = 1e-20, .step = step}, {});
    for (int64_t i = 0; i < 256; ++i) EXPECT_GT(state.second(i), 0);
  }
  for (int64_t i = 0; i < 256; ++i) {
    double moved = -load_element(w, i, 0) / (kSteps * 1e-3);
    EXPECT_LT(moved, 1.3) << i;
    EXPECT_GT(moved, i % 10 <= 3 ? 0.7 : 0.0) << i;
  }
}

}  // namespace
}  // namespace tandem::testing
