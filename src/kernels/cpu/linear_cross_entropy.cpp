#include "kernels/cpu/linear_cross_entropy.h"

#include <math.h>

#include "kernels/cpu/simd_math.h"
#include "kernels/cpu/simd_transpose.h"

namespace tandem::cpu::TANDEM_ISA_NAMESPACE {

extern const LinearCrossEntropyKernels kLinearCrossEntropy;

#if defined(__AVX512BF16__)
namespace {

constexpr int kTileVectors = kTokenTile / kLanes;
constexpr int kPanels = kTokenTile / kTermPanelColumns;
static_assert(kTermPanelColumns == 2 * kLanes);

// The largest of factor * logit; with a negative factor that of the least logit.
TANDEM_INLINE void largest(F (&most)[kTileVectors], const TermBlock& block) {
  const F factor = broadcast(block.factor);
  for (int j = 0; j < kTileVectors; ++j) most[j] = load(block.logits + j * kLanes) * factor;
  for (int64_t v = 1; v < block.rows; ++v) {
    const float* row = block.logits + v * kTokenTile;
#pragma GCC unroll 8
    for (int j = 0; j < kTileVectors; ++j) most[j] = max(load(row + j * kLanes) * factor, most[j]);
  }
}

// Brings what earlier blocks gave to a higher level.
void raise(const TermBlock& block, int vector, F level) {
  const int64_t at = vector * kLanes;
  const F factor = scale_by_power(broadcast(1.0f), load(block.level + at) - level);
  store(block.level + at, level);
  store(block.sum + at, load(block.sum + at) * factor);
  for (int64_t r = 0; r < block.out_rows; ++r) {
    float* out = block.out + r * kTokenTile + at;
    store(out, load(out) * factor);
  }
}

void set_levels(const TermBlock& block) {
  F most[kTileVectors];
  largest(most, block);
  for (int j = 0; j < kTileVectors; ++j) {
    const F up = {_mm512_roundscale_ps(most[j].v, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC)};
    if (block.first) {
      store(block.level + j * kLanes, up);
      store(block.sum + j * kLanes, zero());
      continue;
    }
    const F level = load(block.level + j * kLanes);
    const Mask higher = less(level + broadcast(kLevelRoom), most[j]);
    if (bits(higher)) raise(block, j, select(higher, up, level));
  }
}

TANDEM_INLINE __m512i round_terms(F low, F high) {
  return reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high.v, low.v));
}

// Past the caches: the terms are wanted when those of the whole vocabulary are there.
TANDEM_INLINE void keep(uint16_t* terms, __m512i x) { _mm512_stream_si512(reinterpret_cast<__m512i*>(terms), x); }

// Two rows of terms; of the second one, zeros, where it is not there.
template <bool kTwo>
TANDEM_INLINE void term_rows(const TermBlock& block, int64_t v, F (&sum)[kTileVectors]) {
  const __m512i low_words =
      _mm512_setr_epi32(0x200000, 0x210001, 0x220002, 0x230003, 0x240004, 0x250005, 0x260006, 0x270007, 0x280008,
                        0x290009, 0x2A000A, 0x2B000B, 0x2C000C, 0x2D000D, 0x2E000E, 0x2F000F);
  const __m512i high_words = _mm512_add_epi16(low_words, _mm512_set1_epi16(16));
  const F factor = broadcast(block.factor);
  const float* logits = block.logits + v * kTokenTile;
  uint16_t* terms = block.terms + v * block.terms_stride;
  char* words = block.panels + v / 2 * kTermPanelColumns * 4;
#pragma GCC unroll 4
  for (int p = 0; p < kPanels; ++p) {
    auto term = [&](int64_t row, int half) __attribute__((always_inline)) {
      const int64_t at = (2 * p + half) * kLanes;
      F x = exp2_fine(fms(load(logits + row * kTokenTile + at), factor, load(block.level + at)));
      sum[2 * p + half] += x;
      return x;
    };
    F a = term(0, 0), b = term(0, 1);
    const __m512i upper_row = round_terms(a, b);
    keep(terms + p * kTermPanelColumns, upper_row);
    __m512i lower_row = _mm512_setzero_si512();
    if constexpr (kTwo) {
      a = term(1, 0), b = term(1, 1);
      lower_row = round_terms(a, b);
      keep(terms + block.terms_stride + p * kTermPanelColumns, lower_row);
    }
    char* to = words + p * block.panel_bytes;
    _mm512_storeu_si512(to, _mm512_permutex2var_epi16(upper_row, low_words, lower_row));
    _mm512_storeu_si512(to + 64, _mm512_permutex2var_epi16(upper_row, high_words, lower_row));
  }
}

void terms(const TermBlock& block) {
  set_levels(block);
  F sum[kTileVectors];
  for (int j = 0; j < kTileVectors; ++j) sum[j] = zero();
  int64_t v = 0;
  for (; v + 2 <= block.rows; v += 2) term_rows<true>(block, v, sum);
  if (v < block.rows) term_rows<false>(block, v, sum);
  _mm_sfence();
  for (int j = 0; j < kTileVectors; ++j) {
    store(block.sum + j * kLanes, load(block.sum + j * kLanes) + sum[j]);
  }
  for (int p = 0; p < kPanels; ++p) {
    char* panel = block.panels + p * block.panel_bytes;
    for (int64_t w = (block.rows + 1) / 2; w < block.panel_words; ++w) {
      _mm512_storeu_si512(panel + w * kTermPanelColumns * 4, _mm512_setzero_si512());
      _mm512_storeu_si512(panel + w * kTermPanelColumns * 4 + 64, _mm512_setzero_si512());
    }
  }
}

template <class T>
TANDEM_INLINE void store_gradient(const TokenGradient& job, T* dx, F (&rows)[kLanes], int64_t i, int64_t n) {
  for (int64_t t = 0; t < job.tokens; ++t) {
    T* to = dx + t * job.dx.stride + i;
    const int32_t label = job.labels[t];
    if (label < 0) {
      store(to, zero(), n);
      continue;
    }
    F target = load(job.weight + label * job.weight_stride + i, n);
    store(to, fnma(broadcast(job.label_factor), target, rows[t]), n);
  }
}

void token_gradient(const TokenGradient& job) {
  for (int64_t i = 0; i < job.width; i += kLanes) {
    const int64_t n = lower(kLanes, job.width - i);
    F rows[kLanes];
    for (int j = 0; j < kLanes; ++j) rows[j] = zero();
    for (int64_t p = 0; p < job.part_count; ++p) {
      const F factor = load(job.factors + p * kTokenTile);
      const float* part = job.parts + p * job.part_stride + i * kTokenTile;
      for (int j = 0; j < n; ++j) rows[j] = fma(load(part + j * kTokenTile), factor, rows[j]);
    }
    transpose(rows);
    if (job.dx.bf16) {
      store_gradient(job, static_cast<uint16_t*>(job.dx.data), rows, i, n);
    } else {
      store_gradient(job, static_cast<float*>(job.dx.data), rows, i, n);
    }
  }
}

void scale_rows(uint16_t* out, const uint16_t* x, int64_t x_stride, const float* factors, int64_t rows, int64_t n) {
  for (int64_t t = 0; t < rows; ++t, out += n, x += x_stride) {
    const F factor = broadcast(factors[t]);
    for_lanes(n, [&](int64_t i, auto lanes) { store(out + i, load(x + i, lanes) * factor, lanes); });
  }
}

void add_scaled(float* row, const uint16_t* x, float factor, int64_t n) {
  for_lanes(n, [&](int64_t i, auto lanes) {
    store(row + i, fma(load(x + i, lanes), broadcast(factor), load(row + i, lanes)), lanes);
  });
}

}  // namespace

const LinearCrossEntropyKernels kLinearCrossEntropy = {
    .terms = terms, .token_gradient = token_gradient, .scale_rows = scale_rows, .add_scaled = add_scaled};
#else
const LinearCrossEntropyKernels kLinearCrossEntropy = {};
#endif

}  // namespace tandem::cpu::TANDEM_ISA_NAMESPACE
