// Vectors of integers for products of bytes, beside the floats of simd.h: as many 32-bit lanes as F has floats, of
// which each may be seen as four bytes.
#pragma once

#include "kernels/cpu/simd.h"

namespace tandem::cpu::TANDEM_ISA_NAMESPACE {

#if defined(__AVX512F__)

struct I {
  __m512i v;
};
TANDEM_INLINE I load_words(const void* p) { return {_mm512_loadu_si512(p)}; }
TANDEM_INLINE I broadcast_word(int32_t x) { return {_mm512_set1_epi32(x)}; }
TANDEM_INLINE F to_float(I x) { return {_mm512_cvtepi32_ps(x.v)}; }
TANDEM_INLINE I to_integer(F x) { return {_mm512_cvtps_epi32(x.v)}; }  // nearest, ties to even
TANDEM_INLINE I operator+(I a, I b) { return {_mm512_add_epi32(a.v, b.v)}; }
TANDEM_INLINE I operator&(I a, I b) { return {_mm512_and_si512(a.v, b.v)}; }
TANDEM_INLINE I shift_right_4(I x) { return {_mm512_srli_epi32(x.v, 4)}; }
TANDEM_INLINE I max(I a, I b) { return {_mm512_max_epi32(a.v, b.v)}; }
TANDEM_INLINE I magnitude_bits(F x) {
  return {_mm512_and_si512(_mm512_castps_si512(x.v), _mm512_set1_epi32(0x7FFFFFFF))};
}
TANDEM_INLINE F reinterpret(I x) { return {_mm512_castsi512_ps(x.v)}; }
TANDEM_INLINE I high_bf16(I x) { return {_mm512_and_si512(x.v, _mm512_set1_epi32(static_cast<int>(0xFFFF0000)))}; }
TANDEM_INLINE I low_bf16(I x) { return {_mm512_slli_epi32(x.v, 16)}; }
// Lanes of -128..127 as bytes.
TANDEM_INLINE void store_bytes(void* p, I x) { _mm_storeu_si128(static_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(x.v)); }
TANDEM_INLINE __m256i add_halves(I x) {
  return _mm256_add_epi32(_mm512_castsi512_si256(x.v), _mm512_extracti64x4_epi64(x.v, 1));
}
TANDEM_INLINE __m256i max_halves(I x) {
  return _mm256_max_epi32(_mm512_castsi512_si256(x.v), _mm512_extracti64x4_epi64(x.v, 1));
}

// sum + w[0] x[0] + .. + w[3] x[3] per lane, exactly; w unsigned, x signed.
#if defined(__AVX512VNNI__)
TANDEM_INLINE I dot_bytes(I sum, I w, I x) { return {_mm512_dpbusd_epi32(sum.v, w.v, x.v)}; }
TANDEM_INLINE I dot_small_bytes(I sum, I w, I x) { return dot_bytes(sum, w, x); }
#else
// There is an instruction for bytes, but its sums of two products saturate at 16 bits: bytes are widened first, even
// ones and odd ones.
TANDEM_INLINE I dot_bytes(I sum, I w, I x) {
  __m512i even = _mm512_madd_epi16(_mm512_and_si512(w.v, _mm512_set1_epi16(0xFF)),
                                   _mm512_srai_epi16(_mm512_slli_epi16(x.v, 8), 8));
  __m512i odd = _mm512_madd_epi16(_mm512_srli_epi16(w.v, 8), _mm512_srai_epi16(x.v, 8));
  return {_mm512_add_epi32(sum.v, _mm512_add_epi32(even, odd))};
}
// The same for w below 128, where nothing saturates.
TANDEM_INLINE I dot_small_bytes(I sum, I w, I x) {
  __m512i pairs = _mm512_maddubs_epi16(w.v, x.v);
  return {_mm512_add_epi32(sum.v, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)))};
}
#endif

#else  // AVX2

struct I {
  __m256i v;
};
TANDEM_INLINE I load_words(const void* p) { return {_mm256_loadu_si256(static_cast<const __m256i*>(p))}; }
TANDEM_INLINE I broadcast_word(int32_t x) { return {_mm256_set1_epi32(x)}; }
TANDEM_INLINE F to_float(I x) { return {_mm256_cvtepi32_ps(x.v)}; }
TANDEM_INLINE I to_integer(F x) { return {_mm256_cvtps_epi32(x.v)}; }
TANDEM_INLINE I operator+(I a, I b) { return {_mm256_add_epi32(a.v, b.v)}; }
TANDEM_INLINE I operator&(I a, I b) { return {_mm256_and_si256(a.v, b.v)}; }
TANDEM_INLINE I shift_right_4(I x) { return {_mm256_srli_epi32(x.v, 4)}; }
TANDEM_INLINE I max(I a, I b) { return {_mm256_max_epi32(a.v, b.v)}; }
TANDEM_INLINE I magnitude_bits(F x) {
  return {_mm256_and_si256(_mm256_castps_si256(x.v), _mm256_set1_epi32(0x7FFFFFFF))};
}
TANDEM_INLINE F reinterpret(I x) { return {_mm256_castsi256_ps(x.v)}; }
TANDEM_INLINE I high_bf16(I x) { return {_mm256_and_si256(x.v, _mm256_set1_epi32(static_cast<int>(0xFFFF0000)))}; }
TANDEM_INLINE I low_bf16(I x) { return {_mm256_slli_epi32(x.v, 16)}; }
TANDEM_INLINE void store_bytes(void* p, I x) {
  __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(x.v), _mm256_extracti128_si256(x.v, 1));
  _mm_storel_epi64(static_cast<__m128i*>(p), _mm_packs_epi16(words, words));
}
TANDEM_INLINE __m256i add_halves(I x) { return x.v; }
TANDEM_INLINE __m256i max_halves(I x) { return x.v; }

TANDEM_INLINE I dot_bytes(I sum, I w, I x) {
  __m256i even = _mm256_madd_epi16(_mm256_and_si256(w.v, _mm256_set1_epi16(0xFF)),
                                   _mm256_srai_epi16(_mm256_slli_epi16(x.v, 8), 8));
  __m256i odd = _mm256_madd_epi16(_mm256_srli_epi16(w.v, 8), _mm256_srai_epi16(x.v, 8));
  return {_mm256_add_epi32(sum.v, _mm256_add_epi32(even, odd))};
}
TANDEM_INLINE I dot_small_bytes(I sum, I w, I x) {
  __m256i pairs = _mm256_maddubs_epi16(w.v, x.v);
  return {_mm256_add_epi32(sum.v, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))};
}

#endif

TANDEM_INLINE int32_t reduce_add(I x) {
  __m256i eight = add_halves(x);
  __m128i four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4E));
  return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xB1)));
}
TANDEM_INLINE int32_t reduce_max(I x) {
  __m256i eight = max_halves(x);
  __m128i four = _mm_max_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  __m128i two = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4E));
  return _mm_cvtsi128_si32(_mm_max_epi32(two, _mm_shuffle_epi32(two, 0xB1)));
}

}  // namespace tandem::cpu::TANDEM_ISA_NAMESPACE
