#include "kernels/cpu/cross_entropy.h"

#include "kernels/cpu/simd_math.h"

namespace tandem::cpu::TANDEM_ISA_NAMESPACE {
namespace {

struct Extremes {
  float least;
  float largest;
};

// Four chains of maxima: one would wait for itself.
Extremes extremes(const float* x, int64_t n) {
  F low[4], high[4];
  for (int j = 0; j < 4; ++j) low[j] = high[j] = broadcast(x[0]);
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    for (int j = 0; j < 4; ++j) {
      F v = load(x + i + j * kLanes);
      low[j] = min(low[j], v);
      high[j] = max(high[j], v);
    }
  }
  for (; i < n; i += kLanes) {
    F v = n - i < kLanes ? select(first(n - i), load(x + i, n - i), broadcast(x[0])) : load(x + i);
    low[0] = min(low[0], v);
    high[0] = max(high[0], v);
  }
  return {reduce_min(min(min(low[0], low[1]), min(low[2], low[3]))),
          reduce_max(max(max(high[0], high[1]), max(high[2], high[3])))};
}

// The first index whose value is `wanted`; 0 when there is none (only if a logit is NaN).
int32_t find_first(const float* x, int64_t n, float wanted) {
  for (int64_t i = 0; i < n; i += kLanes) {
    int64_t count = n - i < kLanes ? n - i : kLanes;
    uint32_t hits = bits(equal(load(x + i, count), broadcast(wanted)));
    if (count < kLanes) hits &= (1u << count) - 1;
    if (hits) return static_cast<int32_t>(i + __builtin_ctz(hits));
  }
  return 0;
}

// exp(multiplier (x - peak)), at most 1.
struct Terms {
  F multiplier;
  F peak;
  TANDEM_INLINE F of(F x) const { return exp((x - peak) * multiplier); }
};

// The sum of all terms, which are kept. The lanes' sums are widened now and then: 32768 terms added in f32 would lose
// digits. `kept` may be x.
template <bool kKeep>
double sum_terms(const float* x, int64_t n, const Terms& terms, float* kept) {
  constexpr int64_t kBlock = 1024;
  auto term = [&](int64_t i, auto lanes) __attribute__((always_inline)) {
    F value = terms.of(load(x + i, lanes));
    if constexpr (kKeep) store(kept + i, value, lanes);
    return value;
  };
  double total = 0;
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    int64_t end = n - begin < kBlock ? n : begin + kBlock;
    F sum[2] = {zero(), zero()};
    int64_t i = begin;
    for (; i + 2 * kLanes <= end; i += 2 * kLanes) {
      sum[0] += term(i, All{});
      sum[1] += term(i + kLanes, All{});
    }
    for (; i < end; i += kLanes) {
      int64_t rest = end - i;
      sum[0] += rest < kLanes ? select(first(rest), term(i, First{rest}), zero()) : term(i, All{});
    }
    total += static_cast<double>(reduce_add(sum[0] + sum[1]));
  }
  return total;
}

template <class T>
void write_zeros(T* dlogits, int64_t n) {
  for_lanes(n, [&](int64_t i, auto lanes) { store(dlogits + i, zero(), lanes); });
}

// Element-wise, so that dlogits may be the terms.
template <class T>
void gradient(T* dlogits, const float* terms, int64_t n, int32_t label, double total, float factor) {
  double p = static_cast<double>(terms[label]) / total;
  F f = broadcast(static_cast<float>(factor / total));
  for_lanes(n, [&](int64_t i, auto lanes) { store(dlogits + i, load(terms + i, lanes) * f, lanes); });
  store(dlogits + label, broadcast(static_cast<float>((p - 1.0) * factor)), 1);
}

void row(float* loss, Matrix dlogits, float* kept, int32_t* best, const float* logits, int64_t vocabulary,
         int32_t label, float multiplier, float scale) {
  Extremes range = extremes(logits, vocabulary);
  if (best) *best = find_first(logits, vocabulary, range.largest);
  *loss = 0;
  if (label < 0) {
    if (!dlogits.data) return;
    if (dlogits.bf16) return write_zeros(static_cast<uint16_t*>(dlogits.data), vocabulary);
    return write_zeros(static_cast<float*>(dlogits.data), vocabulary);
  }
  float peak = multiplier < 0 ? range.least : range.largest;
  Terms terms{broadcast(multiplier), broadcast(peak)};
  double at_label = static_cast<double>(multiplier) * (static_cast<double>(logits[label]) - peak);
  if (dlogits.data && !dlogits.bf16) kept = static_cast<float*>(dlogits.data);
  double total = dlogits.data ? sum_terms<true>(logits, vocabulary, terms, kept)
                              : sum_terms<false>(logits, vocabulary, terms, nullptr);
  *loss = static_cast<float>(__builtin_log(total) - at_label);
  if (!dlogits.data) return;
  float factor = scale * multiplier;
  if (dlogits.bf16) {
    gradient(static_cast<uint16_t*>(dlogits.data), kept, vocabulary, label, total, factor);
  } else {
    gradient(static_cast<float*>(dlogits.data), kept, vocabulary, label, total, factor);
  }
}

}  // namespace

extern const CrossEntropyKernels kCrossEntropy;
const CrossEntropyKernels kCrossEntropy = {.row = row};

}  // namespace tandem::cpu::TANDEM_ISA_NAMESPACE
