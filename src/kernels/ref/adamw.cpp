#include "kernels/ref/adamw.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "kernels/chunks.h"

namespace tandem::kernels::ref {
namespace {

struct Moments {
  double mean, square;
};

// Element i of row t: updates its weight; the moments are those before and behind the step.
Moments update(const Tensor& w, const Tensor& g, const Tensor& compute, const AdamWStep& step, int64_t t, int64_t i,
               const Moments& before) {
  double correction1 = 1.0 - std::pow(step.beta1, static_cast<double>(step.step));
  double correction2 = 1.0 - std::pow(step.beta2, static_cast<double>(step.step));
  double gradient = load_element(g, t, i) * step.gradient_scale;
  double mean = step.beta1 * before.mean + (1.0 - step.beta1) * gradient;
  double square = step.beta2 * before.square + (1.0 - step.beta2) * gradient * gradient;
  double change = mean / correction1 / (std::sqrt(square / correction2) + step.eps);
  double weight = load_element(w, t, i) * (1.0 - step.learning_rate * step.weight_decay);
  weight -= step.learning_rate * change;
  store_element(w, t, i, weight);
  if (compute.defined()) store_element(compute, t, i, weight);
  return {mean, square};
}

// Of element i of the operands.
uint32_t random_of(const StateRounding& rounding, const AdamWStep& step, int64_t i) {
  int64_t element = rounding.first_element + i;
  StateKey key = state_key(rounding, step.step, element / kChunkElements);
  return state_random(key, static_cast<uint32_t>(element % kChunkElements));
}

// To the bf16 below in magnitude, or above where the bits cut off and the random ones together pass 2^16.
bf16 stochastic_bf16(double x, uint32_t random) {
  return static_cast<bf16>((std::bit_cast<uint32_t>(static_cast<float>(x)) + random) >> 16);
}

// The code of y in 0..1.875, `random` below 2^16.
int stochastic_code(double y, int bias, uint32_t random, int most) {
  int exponent = std::max(std::ilogb(std::max(y, 1e-300)), 1 - bias);
  double steps = std::ldexp(y, 3 - exponent);  // 8..16, below where gradual underflow has begun
  int below = static_cast<int>(std::floor(steps));
  if (steps - below + random * 0x1p-16 >= 1) ++below;
  return std::min(8 * (exponent + bias - 1) + below, most);
}

float block_scale(double largest) { return static_cast<float>(std::max(largest, 0x1p-80) / 1.875); }

void update_bytes(const Tensor& w, const Tensor& g, const AdamWState& state, const Tensor& compute,
                  const AdamWStep& step, const StateRounding& rounding, int64_t block) {
  int64_t begin = block * kStateBlock, end = std::min(w.elements(), begin + kStateBlock);
  uint8_t *m = state.first.as<uint8_t>(), *v = state.second.as<uint8_t>();
  float &m_scale = state.first_scale.as<float>()[block], &v_scale = state.second_scale.as<float>()[block];
  std::vector<Moments> now;
  double largest_mean = 0, largest_square = 0;
  for (int64_t i = begin; i < end; ++i) {
    Moments before{m_scale * first_moment_value(m[i]), v_scale * second_moment_value(v[i])};
    now.push_back(update(w, g, compute, step, i / w.row_size(), i % w.row_size(), before));
    largest_mean = std::max(largest_mean, std::abs(now.back().mean));
    largest_square = std::max(largest_square, now.back().square);
  }
  m_scale = block_scale(largest_mean);
  v_scale = block_scale(largest_square);
  for (int64_t i = begin; i < end; ++i) {
    uint32_t random = random_of(rounding, step, i);
    const Moments& moments = now[static_cast<size_t>(i - begin)];
    int code = stochastic_code(std::abs(moments.mean) / m_scale, 15, random & 0xFFFF, 127);
    m[i] = static_cast<uint8_t>(std::signbit(moments.mean) ? code + 128 : code);
    code = stochastic_code(moments.square / v_scale, 31, random >> 16, 255);
    v[i] = static_cast<uint8_t>(moments.square > 0 ? std::max(code, 1) : code);
  }
}

}  // namespace

void adamw(const Tensor& w, const Tensor& g, const Tensor& m, const Tensor& v, const Tensor& compute,
           const AdamWStep& step) {
  for (int64_t t = 0; t < w.rows(); ++t) {
    for (int64_t i = 0; i < w.row_size(); ++i) {
      Moments now = update(w, g, compute, step, t, i, {load_element(m, t, i), load_element(v, t, i)});
      store_element(m, t, i, now.mean);
      store_element(v, t, i, now.square);
    }
  }
}

void adamw(const Tensor& w, const Tensor& g, const AdamWState& state, const Tensor& compute, const AdamWStep& step,
           const StateRounding& rounding) {
  if (state.first.dtype == DType::u8) {
    for (int64_t block = 0; block < state_blocks(w.elements()); ++block) {
      update_bytes(w, g, state, compute, step, rounding, block);
    }
    return;
  }
  for (int64_t i = 0; i < w.elements(); ++i) {
    bf16 &m = state.first.as<bf16>()[i], &v = state.second.as<bf16>()[i];
    Moments before{bf16_to_float(m), bf16_to_float(v)};
    Moments now = update(w, g, compute, step, i / w.row_size(), i % w.row_size(), before);
    uint32_t random = random_of(rounding, step, i);
    m = stochastic_bf16(now.mean, random & 0xFFFF);
    v = stochastic_bf16(now.square, random >> 16);
  }
}

double sum_of_squares(const Tensor& x) {
  double sum = 0;
  for (int64_t t = 0; t < x.rows(); ++t) {
    for (int64_t i = 0; i < x.row_size(); ++i) sum += load_element(x, t, i) * load_element(x, t, i);
  }
  return sum;
}

}  // namespace tandem::kernels::ref
