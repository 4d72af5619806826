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

#if defined(__AVX512F__)
// Four pieces of 16 bytes, `stride` bytes apart, one for each quarter.
TANDEM_INLINE __m512i quarters(const char* p, int64_t stride) {
  auto piece = [&](int i) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + i * stride)); };
  __m512i x = _mm512_castsi128_si512(piece(0));
  x = _mm512_inserti32x4(x, piece(1), 1);
  x = _mm512_inserti32x4(x, piece(2), 2);
  return _mm512_inserti32x4(x, piece(3), 3);
}

// 32 rows of 8 elements of 2 bytes, `row_bytes` apart; x[i] becomes element i of each row. Loads bring quarters to
// their places, so that what remains is done within them: three shuffles a vector.
TANDEM_INLINE void load_transposed_halves(F (&x)[8], const char* rows, int64_t row_bytes) {
  __m512i r[8], a[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) r[i] = quarters(rows + i * row_bytes, 8 * row_bytes);  // rows i, 8 + i, 16 + i, 24 + i
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {  // pairs of rows
    a[2 * i] = _mm512_unpacklo_epi16(r[2 * i], r[2 * i + 1]);
    a[2 * i + 1] = _mm512_unpackhi_epi16(r[2 * i], r[2 * i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {  // elements 4 i .. 4 i + 3, of rows 0..3 and of rows 4..7
    __m512i first = _mm512_unpacklo_epi32(a[i], a[2 + i]), second = _mm512_unpackhi_epi32(a[i], a[2 + i]);
    __m512i third = _mm512_unpacklo_epi32(a[4 + i], a[6 + i]), fourth = _mm512_unpackhi_epi32(a[4 + i], a[6 + i]);
    x[4 * i].v = _mm512_castsi512_ps(_mm512_unpacklo_epi64(first, third));
    x[4 * i + 1].v = _mm512_castsi512_ps(_mm512_unpackhi_epi64(first, third));
    x[4 * i + 2].v = _mm512_castsi512_ps(_mm512_unpacklo_epi64(second, fourth));
    x[4 * i + 3].v = _mm512_castsi512_ps(_mm512_unpackhi_epi64(second, fourth));
  }
}
#endif

}  // namespace tandem::cpu::TANDEM_ISA_NAMESPACE
