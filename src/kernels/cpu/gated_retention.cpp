#include "kernels/cpu/gated_retention.h"

#include "kernels/cpu/simd_math.h"

namespace tandem::cpu::TANDEM_ISA_NAMESPACE {
namespace {

constexpr int64_t kRows = kRetentionRows;
constexpr int64_t kPad = 16;       // lanes of the widest vector: rows of the workspace are multiples of it
constexpr int64_t kRowBlock = 16;  // rows for which causal products end at one column

TANDEM_INLINE int64_t padded(int64_t n) { return (n + kPad - 1) / kPad * kPad; }
TANDEM_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// Blocks of R rows and V vectors of c (+)= a b, one sum per element in the order of k whatever the blocks are.
template <int R, int V>
TANDEM_INLINE void product_block(float* c, int64_t rc, const float* a, int64_t ra, int64_t ca, const float* b,
                                 int64_t rb, int64_t k, bool add) {
  F sum[R][V];
  for (int r = 0; r < R; ++r) {
    for (int v = 0; v < V; ++v) sum[r][v] = add ? load(c + r * rc + v * kLanes) : zero();
  }
  for (int64_t l = 0; l < k; ++l) {
    F right[V];
    for (int v = 0; v < V; ++v) right[v] = load(b + l * rb + v * kLanes);
    for (int r = 0; r < R; ++r) {
      F left = broadcast(a[r * ra + l * ca]);
      for (int v = 0; v < V; ++v) sum[r][v] = fma(left, right[v], sum[r][v]);
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int v = 0; v < V; ++v) store(c + r * rc + v * kLanes, sum[r][v]);
  }
}

template <int V>
TANDEM_INLINE void product_columns(float* c, int64_t rc, const float* a, int64_t ra, int64_t ca, const float* b,
                                   int64_t rb, int64_t m, int64_t k, bool add) {
  int64_t i = 0;
  for (; i + 4 <= m; i += 4) product_block<4, V>(c + i * rc, rc, a + i * ra, ra, ca, b, rb, k, add);
  for (; i < m; ++i) product_block<1, V>(c + i * rc, rc, a + i * ra, ra, ca, b, rb, k, add);
}

// c[m, n] (+)= a[m, k] b[k, n]; n is a multiple of kPad. Element [i, l] of a stands at a[i * ra + l * ca].
void product(float* c, int64_t rc, const float* a, int64_t ra, int64_t ca, const float* b, int64_t rb, int64_t m,
             int64_t n, int64_t k, bool add) {
  constexpr int kWide = kLanes == 16 ? 4 : 2;
  int64_t j = 0;
  for (; j + kWide * kLanes <= n; j += kWide * kLanes) {
    product_columns<kWide>(c + j, rc, a, ra, ca, b + j, rb, m, k, add);
  }
  for (; j < n; j += kLanes) product_columns<1>(c + j, rc, a, ra, ca, b + j, rb, m, k, add);
}

template <class T>
TANDEM_INLINE void load_typed(float* to, const Matrix& from, int64_t rows, int64_t n, float factor) {
  int64_t p = padded(n);
  F f = broadcast(factor);
  for (int64_t t = 0; t < rows; ++t) {
    const T* x = static_cast<const T*>(from.data) + t * from.stride;
    float* y = to + t * p;
    for (int64_t i = n; i < p; ++i) y[i] = 0;
    for_lanes(n, [&](int64_t i, auto lanes) { store(y + i, f * load(x + i, lanes), lanes); });
  }
}

// Rows of n features, times a factor, as rows of padded(n) floats with zeros at their end.
void load_rows(float* to, const Matrix& from, int64_t rows, int64_t n, float factor = 1) {
  if (from.bf16) return load_typed<uint16_t>(to, from, rows, n, factor);
  load_typed<float>(to, from, rows, n, factor);
}

template <class T>
TANDEM_INLINE void store_typed(const Matrix& to, const float* from, int64_t rows, int64_t n, float factor) {
  int64_t p = padded(n);
  F f = broadcast(factor);
  for (int64_t t = 0; t < rows; ++t) {
    T* y = static_cast<T*>(to.data) + t * to.stride;
    const float* x = from + t * p;
    for_lanes(n, [&](int64_t i, auto lanes) { store(y + i, f * load(x + i, lanes), lanes); });
  }
}

void store_rows(const Matrix& to, const float* from, int64_t rows, int64_t n, float factor = 1) {
  if (to.bf16) return store_typed<uint16_t>(to, from, rows, n, factor);
  store_typed<float>(to, from, rows, n, factor);
}

// to[columns][rows] = from[rows][columns]
void transpose(float* to, int64_t to_stride, const float* from, int64_t from_stride, int64_t rows, int64_t columns) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) to[c * to_stride + r] = from[r * from_stride + c];
  }
}

TANDEM_INLINE void scale_row(float* row, float factor, int64_t n) {
  F f = broadcast(factor);
  for (int64_t i = 0; i < n; i += kLanes) store(row + i, f * load(row + i));
}

// y += factor * x
TANDEM_INLINE void add_scaled(float* y, const float* x, float factor, int64_t n) {
  F f = broadcast(factor);
  for (int64_t i = 0; i < n; i += kLanes) store(y + i, fma(f, load(x + i), load(y + i)));
}

TANDEM_INLINE float dot(const float* a, const float* b, int64_t n) {
  F sum = zero();
  for (int64_t i = 0; i < n; i += kLanes) sum = fma(load(a + i), load(b + i), sum);
  return reduce_add(sum);
}

// Decays of a tile's tokens; each array has kRows elements.
struct Decays {
  float* sum;         // G_t; behind the last token: that of the last one
  float* from_start;  // exp(G_t)
  float* to_end;      // exp(G_last - G_t)
  float* place;       // t
};

Decays decays_of(const RetentionHead& head, float* work) {
  Decays d{work, work + kRows, work + 2 * kRows, work + 3 * kRows};
  float sum = 0;
  for (int64_t t = 0; t < kRows; ++t) {
    if (t < head.tokens) sum += head.log_decay[t * head.decay_stride];
    d.sum[t] = sum;
    d.place[t] = static_cast<float>(t);
  }
  for (int64_t t = 0; t < kRows; t += kLanes) {
    F g = load(d.sum + t);
    store(d.from_start + t, exp(g));
    store(d.to_end + t, exp(broadcast(sum) - g));
  }
  return d;
}

// exp(G_t - G_j) for j = first, ... of token t, 0 for later tokens.
TANDEM_INLINE F weights(const Decays& d, int64_t t, int64_t first) {
  F w = exp(min(zero(), broadcast(d.sum[t]) - load(d.sum + first)));
  return select(less(broadcast(d.place[t]), load(d.place + first)), zero(), w);
}

// Where the buffers of a tile stand; p = padded(n).
struct Workspace {
  Decays decays;
  float *q, *k, *v, *o;         // [kRows][p]
  float *dq, *dk, *dv, *other;  // [kRows][p]
  float* turned;                // [p][kRows]
  float *scores, *d_scores;     // [kRows][kRows]
  float *state, *state_turned;  // [n][p]
  float* d_state_turned;        // [n][p]
};

int64_t workspace_floats(int64_t n) {
  int64_t p = padded(n);
  return 4 * kRows + 9 * kRows * p + 2 * kRows * kRows + 3 * n * p;
}

int64_t state_floats(int64_t n) { return n * padded(n); }

Workspace workspace(const RetentionHead& head, float* work) {
  int64_t p = padded(head.n);
  Workspace w{};
  w.decays = decays_of(head, work);
  work += 4 * kRows;
  float** buffers[] = {&w.q, &w.k, &w.v, &w.o, &w.dq, &w.dk, &w.dv, &w.other, &w.turned};
  float** squares[] = {&w.scores, &w.d_scores};
  float** states[] = {&w.state, &w.state_turned, &w.d_state_turned};
  for (float** rows : buffers) {
    *rows = work;
    work += kRows * p;
  }
  for (float** square : squares) {
    *square = work;
    work += kRows * kRows;
  }
  for (float** state : states) {
    *state = work;
    work += head.n * p;
  }
  return w;
}

void load_state(const RetentionHead& head, float* to) {
  int64_t p = padded(head.n);
  if (head.before) return load_rows(to, {const_cast<float*>(head.before), head.n, false}, head.n, head.n);
  for (int64_t i = 0; i < head.n * p; ++i) to[i] = 0;
}

// The state behind the tile, of keys (scaled, and spoiled here), values and the state before in the workspace.
void advance(const RetentionHead& head, const Workspace& w) {
  int64_t p = padded(head.n), last = head.tokens - 1;
  for (int64_t t = 0; t < head.tokens; ++t) scale_row(w.k + t * p, w.decays.to_end[t], p);
  scale_row(w.state, w.decays.from_start[last], head.n * p);
  product(w.state, p, w.k, 1, p, w.v, p, head.n, p, head.tokens, true);
  store_rows({head.behind, head.n, false}, w.state, head.n, head.n);
}

void forward_by_tile(const RetentionHead& head, float* work) {
  Workspace w = workspace(head, work);
  int64_t p = padded(head.n);
  load_rows(w.k, head.k, head.tokens, head.n, head.scale);
  load_rows(w.v, head.v, head.tokens, head.n);
  load_state(head, w.state);
  if (head.queries > 0) {
    load_rows(w.q, head.q, head.queries, head.n);
    for (int64_t i = 0; i < p * kRows; ++i) w.turned[i] = 0;
    transpose(w.turned, kRows, w.k, p, head.tokens, head.n);
  }
  for (int64_t i = 0; i < head.queries; i += kRowBlock) {
    int64_t rows = least(kRowBlock, head.queries - i), end = head.first_query + i + rows;
    float *q = w.q + i * p, *o = w.o + i * p, *scores = w.scores + i * kRows;
    product(scores, kRows, q, p, 1, w.turned, kRows, rows, padded(end), head.n, false);
    for (int64_t r = 0; r < rows; ++r) {
      int64_t t = head.first_query + i + r;
      for (int64_t j = 0; j < end; j += kLanes) {
        float* at = scores + r * kRows + j;
        store(at, load(at) * weights(w.decays, t, j));
      }
      scale_row(q + r * p, w.decays.from_start[t], p);
    }
    product(o, p, scores, kRows, 1, w.v, p, rows, p, end, false);
    if (head.before) product(o, p, q, p, 1, w.state, p, rows, p, head.n, true);
  }
  store_rows(head.o, w.o, head.queries, head.n);
  if (head.behind) advance(head, w);
}

template <class T>
void query(const RetentionHead& head, const Workspace& w, int64_t i) {
  int64_t p = padded(head.n), t = head.first_query + i;
  float *q = w.q, *o = w.o;
  load_rows(q, {static_cast<T*>(head.q.data) + i * head.q.stride, 0, head.q.bf16}, 1, head.n);
  for (int64_t c = 0; c < p; ++c) o[c] = 0;
  for (int64_t j = 0; j <= t; ++j) {
    const T* k = static_cast<const T*>(head.k.data) + j * head.k.stride;
    F sum = zero();
    for_lanes(head.n, [&](int64_t c, auto lanes) { sum = fma(load(q + c, lanes), load(k + c, lanes), sum); });
    w.scores[j] = reduce_add(sum) * head.scale;
  }
  for (int64_t j = 0; j <= t; j += kLanes) store(w.scores + j, load(w.scores + j) * weights(w.decays, t, j));
  for (int64_t j = 0; j <= t; ++j) {
    const T* v = static_cast<const T*>(head.v.data) + j * head.v.stride;
    F score = broadcast(w.scores[j]);
    for_lanes(head.n,
              [&](int64_t c, auto lanes) { store(o + c, fma(score, load(v + c, lanes), load(o + c, lanes)), lanes); });
  }
  if (head.before) {
    for_lanes(head.n, [&](int64_t c, auto lanes) {
      F sum = zero();
      for (int64_t a = 0; a < head.n; ++a) sum = fma(broadcast(q[a]), load(head.before + a * head.n + c, lanes), sum);
      store(o + c, fma(broadcast(w.decays.from_start[t]), sum, load(o + c, lanes)), lanes);
    });
  }
  store_rows({static_cast<T*>(head.o.data) + i * head.o.stride, 0, head.o.bf16}, o, 1, head.n);
}

void forward_by_query(const RetentionHead& head, float* work) {
  Workspace w = workspace(head, work);
  for (int64_t j = 0; j < kRows; ++j) w.scores[j] = 0;
  for (int64_t i = 0; i < head.queries; ++i) head.k.bf16 ? query<uint16_t>(head, w, i) : query<float>(head, w, i);
  if (!head.behind) return;
  load_rows(w.k, head.k, head.tokens, head.n, head.scale);
  load_rows(w.v, head.v, head.tokens, head.n);
  load_state(head, w.state);
  advance(head, w);
}

// Scores and their gradients in the workspace, both with their weights: P = (q k^T) W and (d_o v^T) W.
void score_gradients(const RetentionHead& head, const Workspace& w) {
  int64_t p = padded(head.n);
  auto causal = [&](float* scores, const float* rows, const float* columns) {
    for (int64_t i = 0; i < p * kRows; ++i) w.turned[i] = 0;
    transpose(w.turned, kRows, columns, p, head.tokens, head.n);
    for (int64_t i = 0; i < head.tokens; i += kRowBlock) {
      int64_t count = least(kRowBlock, head.tokens - i);
      product(scores + i * kRows, kRows, rows + i * p, p, 1, w.turned, kRows, count, padded(i + count), head.n, false);
    }
  };
  causal(w.scores, w.q, w.k);
  causal(w.d_scores, w.o, w.v);
  for (int64_t t = 0; t < head.tokens; ++t) {
    float *scores = w.scores + t * kRows, *d_scores = w.d_scores + t * kRows;
    int64_t end = padded(least(head.tokens, t / kRowBlock * kRowBlock + kRowBlock));
    for (int64_t j = 0; j < kRows; j += kLanes) {
      bool computed = j < end;
      F weight = computed ? weights(w.decays, t, j) : zero();
      store(scores + j, computed ? load(scores + j) * weight : zero());
      store(d_scores + j, computed ? load(d_scores + j) * weight : zero());
    }
  }
}

// w.o holds d_o. With P and dA the weighted scores and their gradients, S the state before the tile, dS the gradient
// for the one behind, e_t = exp(G_t) and f_t = exp(G_last - G_t):
//   dq = dA k + e (d_o S^T),  dk = dA^T q + f (v dS^T),  dv = P^T d_o + f (k dS),  dS before = e_last dS + (e q)^T d_o,
//   dG_t = q_t . dq_t - k_t . dk_t, and for the last token <dS, S behind> more;  da_t = sum of dG_u over u >= t.
void backward(const RetentionHead& head, const RetentionHeadGradient& gradient, float* work) {
  Workspace w = workspace(head, work);
  int64_t n = head.n, p = padded(n), tokens = head.tokens;
  float* ds = gradient.d_state;
  load_rows(w.q, head.q, tokens, n);
  load_rows(w.k, head.k, tokens, n, head.scale);
  load_rows(w.v, head.v, tokens, n);
  load_rows(w.o, gradient.d_o, tokens, n);
  load_state(head, w.state);
  for (int64_t i = 0; i < n * p; ++i) w.state_turned[i] = w.d_state_turned[i] = 0;
  transpose(w.state_turned, p, w.state, p, n, n);
  transpose(w.d_state_turned, p, ds, p, n, n);
  score_gradients(head, w);

  product(w.dq, p, w.d_scores, kRows, 1, w.k, p, tokens, p, tokens, false);
  product(w.other, p, w.o, p, 1, w.state_turned, p, tokens, p, n, false);
  for (int64_t t = 0; t < tokens; ++t) add_scaled(w.dq + t * p, w.other + t * p, w.decays.from_start[t], p);

  float last = w.decays.from_start[tokens - 1] * dot(ds, w.state, n * p);  // <dS, S behind>
  product(w.dk, p, w.d_scores, 1, kRows, w.q, p, tokens, p, tokens, false);
  product(w.other, p, w.v, p, 1, w.d_state_turned, p, tokens, p, n, false);
  for (int64_t t = 0; t < tokens; ++t) {
    last += w.decays.to_end[t] * dot(w.k + t * p, w.other + t * p, p);
    add_scaled(w.dk + t * p, w.other + t * p, w.decays.to_end[t], p);
  }

  product(w.dv, p, w.scores, 1, kRows, w.o, p, tokens, p, tokens, false);
  product(w.other, p, w.k, p, 1, ds, p, tokens, p, n, false);
  for (int64_t t = 0; t < tokens; ++t) add_scaled(w.dv + t * p, w.other + t * p, w.decays.to_end[t], p);

  float sum = last;
  for (int64_t t = tokens - 1; t >= 0; --t) {
    sum += dot(w.q + t * p, w.dq + t * p, p) - dot(w.k + t * p, w.dk + t * p, p);
    gradient.d_decay[t * gradient.d_decay_stride] = sum;
  }
  for (int64_t t = 0; t < tokens; ++t) scale_row(w.q + t * p, w.decays.from_start[t], p);
  scale_row(ds, w.decays.from_start[tokens - 1], n * p);
  product(ds, p, w.q, 1, p, w.o, p, n, p, tokens, true);

  store_rows(gradient.dq, w.dq, tokens, n);
  store_rows(gradient.dk, w.dk, tokens, n, head.scale);
  store_rows(gradient.dv, w.dv, tokens, n);
}

}  // namespace

extern const GatedRetentionKernels kGatedRetention;
const GatedRetentionKernels kGatedRetention = {
    .state_floats = state_floats,
    .workspace_floats = workspace_floats,
    .forward_by_tile = forward_by_tile,
    .forward_by_query = forward_by_query,
    .backward = backward,
};

}  // namespace tandem::cpu::TANDEM_ISA_NAMESPACE
