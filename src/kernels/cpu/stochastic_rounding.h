// Random bits per lane, and floats rounded by them to bf16 and to the 8-bit floats of kernels/adamw_state.h, where the
// formats and the hash are written down.
#pragma once

#include "kernels/cpu/simd_bytes.h"

namespace tandem::cpu::TANDEM_ISA_NAMESPACE {

#if defined(__AVX512F__)

TANDEM_INLINE I lane_numbers() { return {_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)}; }
TANDEM_INLINE I operator*(I a, I b) { return {_mm512_mullo_epi32(a.v, b.v)}; }
TANDEM_INLINE I operator-(I a, I b) { return {_mm512_sub_epi32(a.v, b.v)}; }
TANDEM_INLINE I operator^(I a, I b) { return {_mm512_xor_si512(a.v, b.v)}; }
TANDEM_INLINE I operator|(I a, I b) { return {_mm512_or_si512(a.v, b.v)}; }
TANDEM_INLINE I min(I a, I b) { return {_mm512_min_epi32(a.v, b.v)}; }
template <int kBits>
TANDEM_INLINE I shift_left(I x) {
  return {_mm512_slli_epi32(x.v, kBits)};
}
template <int kBits>
TANDEM_INLINE I shift_right(I x) {  // zeros come in
  return {_mm512_srli_epi32(x.v, kBits)};
}
TANDEM_INLINE I float_bits(F x) { return {_mm512_castps_si512(x.v)}; }
TANDEM_INLINE I truncated(F x) { return {_mm512_cvttps_epi32(x.v)}; }
// Lanes of 0..255.
TANDEM_INLINE I load_codes(const uint8_t* p) {
  return {_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
TANDEM_INLINE void store_codes(uint8_t* p, I x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(x.v));
}
TANDEM_INLINE __m256i upper_words(I x) { return _mm512_cvtepi32_epi16(_mm512_srli_epi32(x.v, 16)); }
TANDEM_INLINE void store_words(uint16_t* p, __m256i words, All) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), words);
}
TANDEM_INLINE void store_words(uint16_t* p, __m256i words, First lanes) {
  _mm256_mask_storeu_epi16(p, first(lanes.n).v, words);
}

#else  // AVX2

TANDEM_INLINE I lane_numbers() { return {_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)}; }
TANDEM_INLINE I operator*(I a, I b) { return {_mm256_mullo_epi32(a.v, b.v)}; }
TANDEM_INLINE I operator-(I a, I b) { return {_mm256_sub_epi32(a.v, b.v)}; }
TANDEM_INLINE I operator^(I a, I b) { return {_mm256_xor_si256(a.v, b.v)}; }
TANDEM_INLINE I operator|(I a, I b) { return {_mm256_or_si256(a.v, b.v)}; }
TANDEM_INLINE I min(I a, I b) { return {_mm256_min_epi32(a.v, b.v)}; }
template <int kBits>
TANDEM_INLINE I shift_left(I x) {
  return {_mm256_slli_epi32(x.v, kBits)};
}
template <int kBits>
TANDEM_INLINE I shift_right(I x) {
  return {_mm256_srli_epi32(x.v, kBits)};
}
TANDEM_INLINE I float_bits(F x) { return {_mm256_castps_si256(x.v)}; }
TANDEM_INLINE I truncated(F x) { return {_mm256_cvttps_epi32(x.v)}; }
TANDEM_INLINE I load_codes(const uint8_t* p) {
  return {_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)))};
}
TANDEM_INLINE __m128i to_words(__m256i x) {
  return _mm_packus_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
}
TANDEM_INLINE void store_codes(uint8_t* p, I x) {
  __m128i words = to_words(x.v);
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi16(words, words));
}
TANDEM_INLINE __m128i upper_words(I x) { return to_words(_mm256_srli_epi32(x.v, 16)); }
TANDEM_INLINE void store_words(uint16_t* p, __m128i words, All) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), words);
}
TANDEM_INLINE void store_words(uint16_t* p, __m128i words, First lanes) {
  alignas(16) uint16_t all[8];
  _mm_store_si128(reinterpret_cast<__m128i*>(all), words);
  for (int64_t i = 0; i < lanes.n; ++i) p[i] = all[i];
}

#endif

// 32 bits for each of the elements i, i + 1, .. of a chunk (state_random of kernels/adamw_state.h).
class RandomBits {
 public:
  explicit RandomBits(const uint32_t (&key)[2])
      : start_(lane_numbers() + word(key[0])), middle_(word(key[1])), a_(word(0x85EBCA6Bu)), b_(word(0xC2B2AE35u)) {}
  TANDEM_INLINE I at(int64_t i) const {
    I x = start_ + broadcast_word(static_cast<int32_t>(i));
    x = ((x ^ shift_right<16>(x)) * a_) ^ middle_;
    x = (x ^ shift_right<13>(x)) * b_;
    return x ^ shift_right<16>(x);
  }

 private:
  static TANDEM_INLINE I word(uint32_t x) { return broadcast_word(static_cast<int32_t>(x)); }
  I start_, middle_, a_, b_;
};

// The upper halves of x, up with the probability that the lower ones give; `random` is below 2^16.
template <class Lanes>
TANDEM_INLINE void store_stochastic(uint16_t* p, F x, I random, Lanes lanes) {
  store_words(p, upper_words(float_bits(x) + random), lanes);
}

// Small floats of three fraction bits. y in 0..1.875 or a little more.
template <int kBias>
struct SmallFloat {
  static constexpr int kShift = 20;                            // of the fraction, from that of a float
  static constexpr int kOffset = (127 - kBias) << 23;          // of the exponent
  static constexpr int kSmallestNormal = (128 - kBias) << 23;  // as the bits of a float

  static TANDEM_INLINE F decode(I code) {
    I bits = shift_left<kShift>(code);
    F normal = reinterpret(bits + broadcast_word(kOffset));
    // Of exponent 0: the fraction behind a one that is taken away again.
    F smallest = reinterpret(broadcast_word(kSmallestNormal));
    F small = reinterpret(bits + broadcast_word(kSmallestNormal)) - smallest;
    return select(less(normal, smallest), small, normal);
  }

  // Codes of magnitudes, at most `most`; `random` is below 2^16.
  static TANDEM_INLINE I encode(F y, I random, I most) {
    I normal = shift_right<kShift>(float_bits(y) + shift_left<4>(random) - broadcast_word(kOffset));
    F smallest = reinterpret(broadcast_word(kSmallestNormal));
    F per_step = reinterpret(broadcast_word((127 + kBias + 2) << 23));
    I small = truncated(fma(y, per_step, to_float(random) * broadcast(0x1p-16f)));
    I code = float_bits(select(less(y, smallest), reinterpret(small), reinterpret(normal)));
    return min(code, most);
  }
};

}  // namespace tandem::cpu::TANDEM_ISA_NAMESPACE
