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

// The sum of all terms. The lanes' sums are widened now and then: 32768 terms added in f32 would lose digits.
double sum_terms(const float* x, int64_t n, const Terms& terms) {
  constexpr int64_t kBlock = 1024;
  double total = 0;
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    int64_t count = n - begin < kBlock ? n - begin : kBlock;
    F sum[2] = {zero(), zero()};
    int64_t i = 0;
    for (; i + 2 * kLanes <= count; i += 2 * kLanes) {
      sum[0] += terms.of(load(x + begin + i));
      sum[1] += terms.of(load(x + begin + i + kLanes));
    }
    for (; i < count; i += kLanes) {
      int64_t rest = count - i;
      F v = rest < kLanes ? select(first(rest), terms.of(load(x + begin + i, rest)), zero())
                          : terms.of(load(x + begin + i));
      sum[0] += v;
    }
    total += static_cast<double>(reduce_add(sum[0] + sum[1]));
  }
  return total;
}

// Element-wise, so that dlogits may be the logits.
template <class T>
void write_gradient(T* dlogits, const float* x, int64_t n, const Terms& terms, float factor) {
  F f = broadcast(factor);
  for_lanes(n, [&](int64_t i, auto lanes) { store(dlogits + i, terms.of(load(x + i, lanes)) * f, lanes); });
}

template <class T>
void write_zeros(T* dlogits, int64_t n) {
  for_lanes(n, [&](int64_t i, auto lanes) { store(dlogits + i, zero(), lanes); });
}

template <class T>
void gradient(T* dlogits, const float* logits, int64_t n, int32_t label, double total, const Terms& terms,
              float multiplier, float scale) {
  if (label < 0) return write_zeros(dlogits, n);
  float factor = scale * multiplier;
  float at_label = reduce_max(select(first(1), terms.of(broadcast(logits[label])), broadcast(0.0f)));
  write_gradient(dlogits, logits, n, terms, static_cast<float>(factor / total));
  double p = static_cast<double>(at_label) / total;
  store(dlogits + label, broadcast(static_cast<float>((p - 1.0) * factor)), 1);
}

void row(float* loss, Matrix dlogits, int32_t* best, const float* logits, int64_t vocabulary, int32_t label,
         float multiplier, float scale) {
  Extremes range = extremes(logits, vocabulary);
  if (best) *best = find_first(logits, vocabulary, range.largest);
  *loss = 0;
  if (label < 0 && !dlogits.data) return;
  float peak = multiplier < 0 ? range.least : range.largest;
  Terms terms{broadcast(multiplier), broadcast(peak)};
  double total = 1;
  if (label >= 0) {
    total = sum_terms(logits, vocabulary, terms);
    double at_label = static_cast<double>(multiplier) * (static_cast<double>(logits[label]) - peak);
    *loss = static_cast<float>(__builtin_log(total) - at_label);
  }
  if (!dlogits.data) return;
  if (dlogits.bf16) {
    gradient(static_cast<uint16_t*>(dlogits.data), logits, vocabulary, label, total, terms, multiplier, scale);
  } else {
    gradient(static_cast<float*>(dlogits.data), logits, vocabulary, label, total, terms, multiplier, scale);
  }
}

}  // namespace

extern const CrossEntropyKernels kCrossEntropy;
const CrossEntropyKernels kCrossEntropy = {.row = row};

}  // namespace tandem::cpu::TANDEM_ISA_NAMESPACE
