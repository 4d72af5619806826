// One query against keys and values in place, for decoding: each key is read once for all heads of its group.
#pragma once

#include "kernels/cpu/span_attention_forward.h"

namespace tandem::cpu::TANDEM_ISA_NAMESPACE {
namespace attention {

// Scores of one head with kLanes keys, of which `count` are there.
template <class Element>
TANDEM_INLINE F dot_products(const Element* q, const Element* k, int64_t stride, int64_t count, int64_t head_size) {
  F sum[kLanes];
#pragma GCC unroll 16
  for (int j = 0; j < kLanes; ++j) sum[j] = zero();
  for (int64_t i = 0; i < head_size; i += kLanes) {
    int64_t n = lower(kLanes, head_size - i);
    F left = load(q + i, n);
#pragma GCC unroll 16
    for (int j = 0; j < kLanes; ++j) sum[j] = fma(left, load(k + lower(j, count - 1) * stride + i, n), sum[j]);
  }
  transpose(sum);
#pragma GCC unroll 4
  for (int half = kLanes / 2; half > 0; half /= 2) {
#pragma GCC unroll 8
    for (int j = 0; j < half; ++j) sum[j] += sum[j + half];
  }
  return sum[0];
}

TANDEM_INLINE float weight(const float* weights, int64_t j) { return weights[j]; }
TANDEM_INLINE float weight(const uint16_t* weights, int64_t j) {
  uint32_t bits = static_cast<uint32_t>(weights[j]) << 16;
  float out;
  memcpy(&out, &bits, sizeof out);
  return out;
}

// out[head_size] += the sum of weights[j] * v[j].
template <class Element>
TANDEM_INLINE void add_values(float* out, const Element* weights, const Element* v, int64_t stride, int64_t count,
                              int64_t head_size) {
  constexpr int64_t kWide = 4;
  for (int64_t i = 0; i < head_size; i += kWide * kLanes) {
    F sum[kWide];
    int64_t n[kWide];
#pragma GCC unroll 4
    for (int64_t w = 0; w < kWide; ++w) {
      n[w] = lower(kLanes, upper(head_size - i - w * kLanes, 0));
      sum[w] = load(out + i + w * kLanes, n[w]);
    }
    for (int64_t j = 0; j < count; ++j) {
      F left = broadcast(weight(weights, j));
#pragma GCC unroll 4
      for (int64_t w = 0; w < kWide; ++w) {
        sum[w] = fma(left, load(v + j * stride + i + w * kLanes, n[w]), sum[w]);
      }
    }
#pragma GCC unroll 4
    for (int64_t w = 0; w < kWide; ++w) store(out + i + w * kLanes, sum[w], n[w]);
  }
}

// At most kTile keys.
template <class Type>
TANDEM_INLINE void forward_keys(const ForwardState& s, const AttentionForwardRows& job, const typename Type::Element* k,
                                int64_t k_stride, const typename Type::Element* v, int64_t v_stride, int64_t count) {
  using Element = typename Type::Element;
  int64_t size = job.shape.head_size, wide = padded(size);
  Columns columns = {0, (count + kLanes - 1) / kLanes * kLanes, true};
  for (int64_t r = 0; r < job.rows; ++r) {
    const auto* q = static_cast<const Element*>(job.q.data) + r * job.q.stride;
    for (int64_t c = 0; c < count; c += kLanes) {
      store(s.scores + c, dot_products(q, k + c * k_stride, k_stride, lower(kLanes, count - c), size));
    }
    softmax_row<Type, true>(s, job, r, 0, columns, 0, count, wide);
    add_values(s.out + r * wide, reinterpret_cast<const Element*>(s.weights), v, v_stride, count, size);
  }
}

template <class Type>
void forward_query(const AttentionForwardQuery& query) {
  using Element = typename Type::Element;
  const AttentionForwardRows& job = query.rows;
  int64_t wide = padded(job.shape.head_size);
  ForwardState s = forward_state(job.workspace, job.shape.head_size);
  begin_rows(s, job, job.rows, wide);
  for (int32_t i = 0; i < job.span_count; ++i) {
    const TileSpan& span = job.spans[i];
    const HeadRows& keys = query.keys[span.source];
    const HeadRows& values = query.values[span.source];
    for (int64_t j = span.lo[query.query]; j < span.hi[query.query]; j += kTile) {
      forward_keys<Type>(s, job, static_cast<const Element*>(keys.data) + j * keys.stride, keys.stride,
                         static_cast<const Element*>(values.data) + j * values.stride, values.stride,
                         lower(kTile, span.hi[query.query] - j));
    }
    end_span(s, job, i, job.rows, wide);
  }
  end_rows<Type>(s, job, wide);
}

}  // namespace attention
}  // namespace tandem::cpu::TANDEM_ISA_NAMESPACE
