// Vectors of floats for the instruction set that the including file is compiled for. Sixteen lanes where AVX-512 is
// there, eight under AVX2; the same source serves both. Everything lives in the namespace of the instruction set, so
// that no two copies of a function share a name (see kernels.h).
//
// Names: F a vector of floats, Mask one truth value per lane. "First n" forms read or write lanes 0..n-1 only
// (0 <= n <= kLanes); lanes not read are zero.
#pragma once

#include <immintrin.h>
#include <stdint.h>

#define TANDEM_INLINE inline __attribute__((always_inline))

namespace tandem::cpu::TANDEM_ISA_NAMESPACE {

// Of two whole numbers: <algorithm> would bring functions of a shared name.
TANDEM_INLINE int64_t lower(int64_t a, int64_t b) { return a < b ? a : b; }
TANDEM_INLINE int64_t upper(int64_t a, int64_t b) { return a > b ? a : b; }

#if defined(__AVX512F__)

inline constexpr int kLanes = 16;

struct F {
  __m512 v;
};
struct Mask {
  __mmask16 v;
};

TANDEM_INLINE Mask first(int64_t n) { return {static_cast<__mmask16>((1u << n) - 1)}; }

TANDEM_INLINE F zero() { return {_mm512_setzero_ps()}; }
TANDEM_INLINE F broadcast(float x) { return {_mm512_set1_ps(x)}; }
TANDEM_INLINE F load(const float* p) { return {_mm512_loadu_ps(p)}; }
TANDEM_INLINE F load(const float* p, int64_t n) { return {_mm512_maskz_loadu_ps(first(n).v, p)}; }
TANDEM_INLINE void store(float* p, F x) { _mm512_storeu_ps(p, x.v); }
TANDEM_INLINE void store(float* p, F x, int64_t n) { _mm512_mask_storeu_ps(p, first(n).v, x.v); }

TANDEM_INLINE F operator+(F a, F b) { return {_mm512_add_ps(a.v, b.v)}; }
TANDEM_INLINE F operator-(F a, F b) { return {_mm512_sub_ps(a.v, b.v)}; }
TANDEM_INLINE F operator*(F a, F b) { return {_mm512_mul_ps(a.v, b.v)}; }
TANDEM_INLINE F operator/(F a, F b) { return {_mm512_div_ps(a.v, b.v)}; }
TANDEM_INLINE F fma(F a, F b, F c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }    // a b + c
TANDEM_INLINE F fnma(F a, F b, F c) { return {_mm512_fnmadd_ps(a.v, b.v, c.v)}; }  // c - a b
TANDEM_INLINE F fms(F a, F b, F c) { return {_mm512_fmsub_ps(a.v, b.v, c.v)}; }    // a b - c
TANDEM_INLINE F sqrt(F x) { return {_mm512_sqrt_ps(x.v)}; }
TANDEM_INLINE F abs(F x) { return {_mm512_abs_ps(x.v)}; }
// The second operand when either is NaN, as the instruction does.
TANDEM_INLINE F min(F a, F b) { return {_mm512_min_ps(a.v, b.v)}; }
TANDEM_INLINE F max(F a, F b) { return {_mm512_max_ps(a.v, b.v)}; }
TANDEM_INLINE F round(F x) { return {_mm512_roundscale_ps(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }

TANDEM_INLINE Mask less(F a, F b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
TANDEM_INLINE Mask equal(F a, F b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ)}; }
TANDEM_INLINE F select(Mask m, F yes, F no) { return {_mm512_mask_blend_ps(m.v, no.v, yes.v)}; }
TANDEM_INLINE uint32_t bits(Mask m) { return m.v; }  // lane i at bit i

// x 2^n for integral n, right through overflow and denormals.
TANDEM_INLINE F scale_by_power(F x, F n) { return {_mm512_scalef_ps(x.v, n.v)}; }

TANDEM_INLINE __m256 low_half(F x) { return _mm512_castps512_ps256(x.v); }
TANDEM_INLINE __m256 high_half(F x) { return _mm512_extractf32x8_ps(x.v, 1); }

// Lanes 0 1 2 3 become 1 0 3 2.
TANDEM_INLINE F swap_pairs(F x) { return {_mm512_permute_ps(x.v, 0xB1)}; }

// bfloat16 is the upper half of a float.
TANDEM_INLINE F widen(__m256i x) { return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16))}; }
// Round to nearest, ties to even; NaN stays NaN.
TANDEM_INLINE __m256i narrow(F x) {
#if defined(__AVX512BF16__)
  // The instruction reads denormals as zero: results below 2^-126 in magnitude become 0. All other values are as below.
  return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x.v));
#else
  __m512i b = _mm512_castps_si512(x.v);
  __m512i odd = _mm512_and_si512(_mm512_srli_epi32(b, 16), _mm512_set1_epi32(1));
  __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(_mm512_add_epi32(b, _mm512_set1_epi32(0x7FFF)), odd), 16);
  __m512i quiet = _mm512_or_si512(_mm512_srli_epi32(b, 16), _mm512_set1_epi32(0x40));
  return _mm512_cvtepi32_epi16(_mm512_mask_blend_epi32(_mm512_cmp_ps_mask(x.v, x.v, _CMP_UNORD_Q), rounded, quiet));
#endif
}
#if defined(__AVX512BF16__)
// Lanes of a and b hold two bf16 values each: a.low b.low + a.high b.high + c.
TANDEM_INLINE F fma_pairs(F a, F b, F c) {
  return {_mm512_dpbf16_ps(c.v, reinterpret_cast<__m512bh>(a.v), reinterpret_cast<__m512bh>(b.v))};
}
#endif
TANDEM_INLINE F load(const uint16_t* p) { return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
TANDEM_INLINE F load(const uint16_t* p, int64_t n) { return widen(_mm256_maskz_loadu_epi16(first(n).v, p)); }
TANDEM_INLINE void store(uint16_t* p, F x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), narrow(x)); }
TANDEM_INLINE void store(uint16_t* p, F x, int64_t n) { _mm256_mask_storeu_epi16(p, first(n).v, narrow(x)); }

// Half as many doubles.
struct D {
  __m512d v;
};
TANDEM_INLINE D zero_double() { return {_mm512_setzero_pd()}; }
TANDEM_INLINE D widen_double(__m256 x) { return {_mm512_cvtps_pd(x)}; }
TANDEM_INLINE D operator+(D a, D b) { return {_mm512_add_pd(a.v, b.v)}; }
TANDEM_INLINE D fma(D a, D b, D c) { return {_mm512_fmadd_pd(a.v, b.v, c.v)}; }
TANDEM_INLINE __m256d fold(D x) { return _mm256_add_pd(_mm512_castpd512_pd256(x.v), _mm512_extractf64x4_pd(x.v, 1)); }

#else  // AVX2

inline constexpr int kLanes = 8;

struct F {
  __m256 v;
};
struct Mask {
  __m256 v;  // all bits of a lane, or none
};

TANDEM_INLINE __m256i first_lanes(int64_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
TANDEM_INLINE Mask first(int64_t n) { return {_mm256_castsi256_ps(first_lanes(n))}; }

TANDEM_INLINE F zero() { return {_mm256_setzero_ps()}; }
TANDEM_INLINE F broadcast(float x) { return {_mm256_set1_ps(x)}; }
TANDEM_INLINE F load(const float* p) { return {_mm256_loadu_ps(p)}; }
TANDEM_INLINE F load(const float* p, int64_t n) { return {_mm256_maskload_ps(p, first_lanes(n))}; }
TANDEM_INLINE void store(float* p, F x) { _mm256_storeu_ps(p, x.v); }
TANDEM_INLINE void store(float* p, F x, int64_t n) { _mm256_maskstore_ps(p, first_lanes(n), x.v); }

TANDEM_INLINE F operator+(F a, F b) { return {_mm256_add_ps(a.v, b.v)}; }
TANDEM_INLINE F operator-(F a, F b) { return {_mm256_sub_ps(a.v, b.v)}; }
TANDEM_INLINE F operator*(F a, F b) { return {_mm256_mul_ps(a.v, b.v)}; }
TANDEM_INLINE F operator/(F a, F b) { return {_mm256_div_ps(a.v, b.v)}; }
TANDEM_INLINE F fma(F a, F b, F c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }    // a b + c
TANDEM_INLINE F fnma(F a, F b, F c) { return {_mm256_fnmadd_ps(a.v, b.v, c.v)}; }  // c - a b
TANDEM_INLINE F fms(F a, F b, F c) { return {_mm256_fmsub_ps(a.v, b.v, c.v)}; }
TANDEM_INLINE F sqrt(F x) { return {_mm256_sqrt_ps(x.v)}; }
TANDEM_INLINE F abs(F x) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), x.v)}; }
TANDEM_INLINE F min(F a, F b) { return {_mm256_min_ps(a.v, b.v)}; }
TANDEM_INLINE F max(F a, F b) { return {_mm256_max_ps(a.v, b.v)}; }
TANDEM_INLINE F round(F x) { return {_mm256_round_ps(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }

TANDEM_INLINE Mask less(F a, F b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ)}; }
TANDEM_INLINE Mask equal(F a, F b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_EQ_OQ)}; }
TANDEM_INLINE F select(Mask m, F yes, F no) { return {_mm256_blendv_ps(no.v, yes.v, m.v)}; }
TANDEM_INLINE uint32_t bits(Mask m) { return static_cast<uint32_t>(_mm256_movemask_ps(m.v)); }

// In two steps: 2^n alone leaves the range of a float before x 2^n does. |n| <= 252.
TANDEM_INLINE F scale_by_power(F x, F n) {
  __m256i whole = _mm256_cvtps_epi32(n.v);
  __m256i half = _mm256_srai_epi32(whole, 1);
  __m256i rest = _mm256_sub_epi32(whole, half);
  __m256i bias = _mm256_set1_epi32(127);
  __m256 a = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23));
  __m256 b = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23));
  return {_mm256_mul_ps(_mm256_mul_ps(x.v, a), b)};
}

TANDEM_INLINE F swap_pairs(F x) { return {_mm256_permute_ps(x.v, 0xB1)}; }

TANDEM_INLINE F widen(__m128i x) { return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16))}; }
TANDEM_INLINE __m128i narrow(F x) {
  __m256i b = _mm256_castps_si256(x.v);
  __m256i odd = _mm256_and_si256(_mm256_srli_epi32(b, 16), _mm256_set1_epi32(1));
  __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(_mm256_add_epi32(b, _mm256_set1_epi32(0x7FFF)), odd), 16);
  __m256i quiet = _mm256_or_si256(_mm256_srli_epi32(b, 16), _mm256_set1_epi32(0x40));
  __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x.v, x.v, _CMP_UNORD_Q));
  __m256i words = _mm256_blendv_epi8(rounded, quiet, nan);
  return _mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
}
TANDEM_INLINE F load(const uint16_t* p) { return widen(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
TANDEM_INLINE F load(const uint16_t* p, int64_t n) {
  alignas(16) uint16_t words[8] = {};
  for (int64_t i = 0; i < n; ++i) words[i] = p[i];
  return load(words);
}
TANDEM_INLINE void store(uint16_t* p, F x) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), narrow(x)); }
TANDEM_INLINE void store(uint16_t* p, F x, int64_t n) {
  alignas(16) uint16_t words[8];
  store(words, x);
  for (int64_t i = 0; i < n; ++i) p[i] = words[i];
}

struct D {
  __m256d v;
};
TANDEM_INLINE D zero_double() { return {_mm256_setzero_pd()}; }
TANDEM_INLINE D widen_double(__m128 x) { return {_mm256_cvtps_pd(x)}; }
TANDEM_INLINE D operator+(D a, D b) { return {_mm256_add_pd(a.v, b.v)}; }
TANDEM_INLINE D fma(D a, D b, D c) { return {_mm256_fmadd_pd(a.v, b.v, c.v)}; }
TANDEM_INLINE __m256d fold(D x) { return x.v; }

TANDEM_INLINE __m128 low_half(F x) { return _mm256_castps256_ps128(x.v); }
TANDEM_INLINE __m128 high_half(F x) { return _mm256_extractf128_ps(x.v, 1); }

#endif

// Loops over n elements: body(i, All{}) for whole vectors and body(i, First{rest}) for the end. load and store take
// either, so that a loop is written once.
struct All {};
struct First {
  int64_t n;
};
template <class T>
TANDEM_INLINE F load(const T* p, All) {
  return load(p);
}
template <class T>
TANDEM_INLINE F load(const T* p, First lanes) {
  return load(p, lanes.n);
}
template <class T>
TANDEM_INLINE void store(T* p, F x, All) {
  store(p, x);
}
template <class T>
TANDEM_INLINE void store(T* p, F x, First lanes) {
  store(p, x, lanes.n);
}
template <class Body>
TANDEM_INLINE void for_lanes(int64_t n, const Body& body) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) body(i, All{});
  if (i < n) body(i, First{n - i});
}

TANDEM_INLINE F& operator+=(F& a, F b) { return a = a + b; }
TANDEM_INLINE F& operator-=(F& a, F b) { return a = a - b; }
TANDEM_INLINE F& operator*=(F& a, F b) { return a = a * b; }
TANDEM_INLINE F negate(F x) { return zero() - x; }

// Reductions fold the vector in halves: always the same order.
#if defined(__AVX512F__)
TANDEM_INLINE __m256 add_halves(F x) { return _mm256_add_ps(low_half(x), high_half(x)); }
TANDEM_INLINE __m256 max_halves(F x) { return _mm256_max_ps(low_half(x), high_half(x)); }
TANDEM_INLINE __m256 min_halves(F x) { return _mm256_min_ps(low_half(x), high_half(x)); }
#else
TANDEM_INLINE __m256 add_halves(F x) { return x.v; }
TANDEM_INLINE __m256 max_halves(F x) { return x.v; }
TANDEM_INLINE __m256 min_halves(F x) { return x.v; }
#endif

TANDEM_INLINE float reduce_add(F x) {
  __m256 eight = add_halves(x);
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}
TANDEM_INLINE float reduce_max(F x) {
  __m256 eight = max_halves(x);
  __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}
TANDEM_INLINE float reduce_min(F x) {
  __m256 eight = min_halves(x);
  __m128 four = _mm_min_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  __m128 two = _mm_min_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_min_ss(two, _mm_shuffle_ps(two, two, 1)));
}
TANDEM_INLINE double reduce_add(D x) {
  __m256d four = fold(x);
  __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
  return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

}  // namespace tandem::cpu::TANDEM_ISA_NAMESPACE
