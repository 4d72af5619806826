// Transposition of a square block of floats, or of anything of their size, in registers.
#pragma once

#include "kernels/cpu/simd.h"

namespace tandem::cpu::TANDEM_ISA_NAMESPACE {

// Rows become columns.
TANDEM_INLINE void transpose(F (&x)[kLanes]) {
#if defined(__AVX512F__)
  __m512 a[16], b[16];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {  // within 128 bits: pairs of rows
    a[2 * i] = _mm512_unpacklo_ps(x[2 * i].v, x[2 * i + 1].v);
    a[2 * i + 1] = _mm512_unpackhi_ps(x[2 * i].v, x[2 * i + 1].v);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {  // fours of rows: b[4 i + j] holds column j of each quarter
    __m512d p = _mm512_castps_pd(a[4 * i]), q = _mm512_castps_pd(a[4 * i + 2]);
    __m512d r = _mm512_castps_pd(a[4 * i + 1]), s = _mm512_castps_pd(a[4 * i + 3]);
    b[4 * i] = _mm512_castpd_ps(_mm512_unpacklo_pd(p, q));
    b[4 * i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(p, q));
    b[4 * i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(r, s));
    b[4 * i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(r, s));
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {  // then whole quarters
    __m512 even_low = _mm512_shuffle_f32x4(b[j], b[4 + j], 0x88), odd_low = _mm512_shuffle_f32x4(b[j], b[4 + j], 0xDD);
    __m512 even_high = _mm512_shuffle_f32x4(b[8 + j], b[12 + j], 0x88);
    __m512 odd_high = _mm512_shuffle_f32x4(b[8 + j], b[12 + j], 0xDD);
    x[j].v = _mm512_shuffle_f32x4(even_low, even_high, 0x88);
    x[4 + j].v = _mm512_shuffle_f32x4(odd_low, odd_high, 0x88);
    x[8 + j].v = _mm512_shuffle_f32x4(even_low, even_high, 0xDD);
    x[12 + j].v = _mm512_shuffle_f32x4(odd_low, odd_high, 0xDD);
  }
#else
  __m256 a[8];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    a[2 * i] = _mm256_unpacklo_ps(x[2 * i].v, x[2 * i + 1].v);
    a[2 * i + 1] = _mm256_unpackhi_ps(x[2 * i].v, x[2 * i + 1].v);
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {  // column j of each half, of rows 0..3 and 4..7
    int from = j / 2;
    __m256 low = j % 2 ? _mm256_shuffle_ps(a[from], a[from + 2], 0xEE) : _mm256_shuffle_ps(a[from], a[from + 2], 0x44);
    __m256 high =
        j % 2 ? _mm256_shuffle_ps(a[from + 4], a[from + 6], 0xEE) : _mm256_shuffle_ps(a[from + 4], a[from + 6], 0x44);
    x[j].v = _mm256_permute2f128_ps(low, high, 0x20);
    x[4 + j].v = _mm256_permute2f128_ps(low, high, 0x31);
  }
#endif
}

}  // namespace tandem::cpu::TANDEM_ISA_NAMESPACE
