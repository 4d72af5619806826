#include "kernels/cpu/adamw.h"

#include "kernels/cpu/stochastic_rounding.h"

namespace tandem::cpu::TANDEM_ISA_NAMESPACE {
namespace {

struct Moments {
  F mean, square;
};

class Step {
 public:
  explicit Step(const AdamWScalars& s)
      : gradient_scale_(broadcast(s.gradient_scale)),
        decay_(broadcast(s.decay)),
        eps_(broadcast(s.eps)),
        beta1_(broadcast(s.beta1)),
        beta2_(broadcast(s.beta2)),
        v_scale_(broadcast(s.v_scale)),
        one_minus_beta1_(broadcast(s.one_minus_beta1)),
        one_minus_beta2_(broadcast(s.one_minus_beta2)),
        step_size_(broadcast(s.step_size)) {}

  // Updates weights; the moments are those before and behind the step.
  template <class Lanes>
  TANDEM_INLINE Moments update(float* w, const float* g, uint16_t* compute, F m, F v, Lanes lanes) const {
    F gradient = load(g, lanes) * gradient_scale_;
    F mean = fma(m, beta1_, gradient * one_minus_beta1_);
    F square = fma(v, beta2_, gradient * gradient * one_minus_beta2_);
    F change = mean / fma(sqrt(square), v_scale_, eps_);
    F weight = fnma(change, step_size_, load(w, lanes) * decay_);
    store(w, weight, lanes);
    if (compute) store(compute, weight, lanes);
    return {mean, square};
  }

 private:
  F gradient_scale_, decay_, eps_, beta1_, beta2_, v_scale_, one_minus_beta1_, one_minus_beta2_, step_size_;
};

TANDEM_INLINE uint16_t* at(uint16_t* compute, int64_t i) { return compute ? compute + i : nullptr; }

void update(float* w, const float* g, float* m, float* v, uint16_t* compute, int64_t n, const AdamWScalars& s) {
  Step step(s);
  for_lanes(n, [&](int64_t i, auto lanes) {
    Moments now = step.update(w + i, g + i, at(compute, i), load(m + i, lanes), load(v + i, lanes), lanes);
    store(m + i, now.mean, lanes);
    store(v + i, now.square, lanes);
  });
}

void update_bf16(const AdamWSpan& span, uint16_t* m, uint16_t* v, const AdamWScalars& s) {
  Step step(s);
  RandomBits random(span.key);
  for_lanes(span.n, [&](int64_t i, auto lanes) {
    Moments now =
        step.update(span.w + i, span.g + i, at(span.compute, i), load(m + i, lanes), load(v + i, lanes), lanes);
    I bits = random.at(i);
    store_stochastic(m + i, now.mean, bits & broadcast_word(0xFFFF), lanes);
    store_stochastic(v + i, now.square, shift_right<16>(bits), lanes);
  });
}

using First8 = SmallFloat<15>;
using Second8 = SmallFloat<31>;
constexpr float kLargest = 1.875f;  // of both formats
constexpr int kBlock = 256;         // kStateBlock of kernels/adamw_state.h
// A block's largest value is taken to be this at least, so that one over it is finite.
constexpr float kLeast = 0x1p-80f;

// The moments of a block while it is worked on, in whole vectors.
struct Block {
  alignas(64) float mean[kBlock + kLanes];
  alignas(64) float square[kBlock + kLanes];
};

// A block whose codes may be read and written by whole vectors.
void update_block(const Step& step, const AdamWSpan& span, int64_t begin, int64_t n, const RandomBits& random,
                  uint8_t* m, uint8_t* v, float& m_scale, float& v_scale) {
  Block block;
  F old_m_scale = broadcast(m_scale), old_v_scale = broadcast(v_scale);
  F most_mean = zero(), most_square = zero();
  for_lanes(n, [&](int64_t i, auto lanes) {
    I m_code = load_codes(m + i), v_code = load_codes(v + i);
    F mean = First8::decode(m_code & broadcast_word(127)) * old_m_scale;
    mean = reinterpret(float_bits(mean) | shift_left<24>(m_code & broadcast_word(128)));
    F square = Second8::decode(v_code) * old_v_scale;
    int64_t at_element = begin + i;
    Moments now =
        step.update(span.w + at_element, span.g + at_element, at(span.compute, at_element), mean, square, lanes);
    most_mean = max(most_mean, abs(now.mean));
    most_square = max(most_square, now.square);
    store(block.mean + i, now.mean);
    store(block.square + i, now.square);
  });
  float largest_mean = reduce_max(most_mean), largest_square = reduce_max(most_square);
  m_scale = largest_mean > kLeast ? largest_mean / kLargest : kLeast / kLargest;
  v_scale = largest_square > kLeast ? largest_square / kLargest : kLeast / kLargest;
  F m_inverse = broadcast(1 / m_scale), v_inverse = broadcast(1 / v_scale);
  I one = broadcast_word(1);
  for (int64_t i = 0; i < n; i += kLanes) {
    I bits = random.at(begin + i);
    F mean = load(block.mean + i), square = load(block.square + i);
    I m_code = First8::encode(abs(mean) * m_inverse, bits & broadcast_word(0xFFFF), broadcast_word(127));
    I sign = shift_right<24>(float_bits(mean)) & broadcast_word(128);
    store_codes(m + i, m_code | sign);
    I v_code = Second8::encode(square * v_inverse, shift_right<16>(bits), broadcast_word(255));
    I least = float_bits(select(less(zero(), square), reinterpret(one), zero()));
    store_codes(v + i, max(v_code, least));
  }
}

void update_8bit(const AdamWSpan& span, uint8_t* m, uint8_t* v, float* m_scale, float* v_scale, const AdamWScalars& s) {
  Step step(s);
  RandomBits random(span.key);
  int64_t begin = 0, block = 0;
  for (; begin + kBlock <= span.n; begin += kBlock, ++block) {
    update_block(step, span, begin, kBlock, random, m + begin, v + begin, m_scale[block], v_scale[block]);
  }
  int64_t rest = span.n - begin;
  if (rest == 0) return;
  alignas(64) uint8_t last_m[kBlock] = {}, last_v[kBlock] = {};
  for (int64_t i = 0; i < rest; ++i) {
    last_m[i] = m[begin + i];
    last_v[i] = v[begin + i];
  }
  update_block(step, span, begin, rest, random, last_m, last_v, m_scale[block], v_scale[block]);
  for (int64_t i = 0; i < rest; ++i) {
    m[begin + i] = last_m[i];
    v[begin + i] = last_v[i];
  }
}

double sum_of_squares(const float* x, int64_t n) {
  D low = zero_double(), high = zero_double();
  for_lanes(n, [&](int64_t i, auto lanes) {
    F value = load(x + i, lanes);
    D a = widen_double(low_half(value)), b = widen_double(high_half(value));
    low = fma(a, a, low);
    high = fma(b, b, high);
  });
  return reduce_add(low + high);
}

}  // namespace

extern const AdamWKernels kAdamW;
const AdamWKernels kAdamW = {
    .update = update, .update_bf16 = update_bf16, .update_8bit = update_8bit, .sum_of_squares = sum_of_squares};

}  // namespace tandem::cpu::TANDEM_ISA_NAMESPACE
