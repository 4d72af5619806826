#include "kernels/ref/span_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

namespace tandem::ref {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// A tensor [T, H, D] as doubles.
struct Values {
  std::vector<double> data;
  int64_t row_size = 0;
  int64_t head_size = 0;

  explicit Values(const Tensor& t) : row_size(t.row_size()), head_size(t.shape[2]) {
    data.reserve(static_cast<size_t>(t.rows() * row_size));
    for (int64_t r = 0; r < t.rows(); ++r) {
      for (int64_t i = 0; i < row_size; ++i) data.push_back(load_element(t, r, i));
    }
  }
  Values(int64_t rows, int64_t row_size_, int64_t head_size_)
      : data(static_cast<size_t>(rows * row_size_)), row_size(row_size_), head_size(head_size_) {}

  double* at(int64_t row, int64_t head) { return data.data() + row * row_size + head * head_size; }
  const double* at(int64_t row, int64_t head) const { return data.data() + row * row_size + head * head_size; }
};

double dot(const double* a, const double* b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

void add_scaled(double* y, double a, const double* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] += a * x[i];
}

bool rounds_to_bf16(const Tensor& t) { return t.dtype == DType::bf16 || t.dtype == DType::bf16_in_f64; }

// One visible key of a query.
struct Pair {
  int32_t source;
  int64_t key;
  double score;
};

// What forward and backward share: operands as doubles, and the scores of one query and head.
struct Problem {
  Values q;
  std::vector<Values> k;
  std::vector<Values> v;
  const SpanPlan& plan;
  double scale;
  int64_t heads, group;  // query heads; query heads per key head
  std::vector<Pair> pairs;

  Problem(const Tensor& q_, std::span<const KeyValueSource> sources, const SpanPlan& plan_, double scale_)
      : q(q_), plan(plan_), scale(scale_), heads(q_.shape[1]), group(heads / sources[0].k.shape[1]) {
    for (const KeyValueSource& source : sources) {
      k.emplace_back(source.k);
      v.emplace_back(source.v);
    }
  }

  void score(const QueryRun& run, int64_t query, int64_t head) {
    pairs.clear();
    for (int32_t s = 0; s < run.spans; ++s) {
      const KeySpan& span = plan.spans[static_cast<size_t>(run.first_span + s)];
      KeyRange keys = visible_keys(span, query);
      for (int64_t j = keys.begin; j < keys.end; ++j) {
        const double* key = k[static_cast<size_t>(span.source)].at(j, head / group);
        pairs.push_back({span.source, j, scale * dot(q.at(query, head), key, q.head_size)});
      }
    }
  }

  template <class Body>
  void for_each_query(Body&& body) {
    for (const QueryRun& run : plan.runs) {
      for (int64_t query = run.begin; query < run.end; ++query) {
        for (int64_t head = 0; head < heads; ++head) {
          score(run, query, head);
          body(query, head);
        }
      }
    }
  }
};

// Log-sum-exp of the scores of one source, or of all (source < 0).
double log_sum_exp(const std::vector<Pair>& pairs, int32_t source) {
  double most = -kInfinity, sum = 0;
  for (const Pair& pair : pairs) {
    if (source < 0 || pair.source == source) most = std::max(most, pair.score);
  }
  if (most == -kInfinity) return most;
  for (const Pair& pair : pairs) {
    if (source < 0 || pair.source == source) sum += std::exp(pair.score - most);
  }
  return most + std::log(sum);
}

}  // namespace

void span_attention_forward(const Tensor& o, const Tensor& lse, const Tensor& source_lse, const Tensor& q,
                            std::span<const KeyValueSource> sources, const SpanPlan& plan, double scale) {
  Problem problem(q, sources, plan, scale);
  int64_t size = q.shape[2], queries = q.shape[0];
  bool rounds = rounds_to_bf16(q);
  std::vector<double> out(static_cast<size_t>(size));
  problem.for_each_query([&](int64_t query, int64_t head) {
    std::fill(out.begin(), out.end(), 0.0);
    double most = -kInfinity, sum = 0;
    for (const Pair& pair : problem.pairs) most = std::max(most, pair.score);
    double level = std::ceil(most * std::numbers::log2e);
    for (const Pair& pair : problem.pairs) {
      double p = std::exp2(pair.score * std::numbers::log2e - level);
      sum += p;
      const double* value = problem.v[static_cast<size_t>(pair.source)].at(pair.key, head / problem.group);
      add_scaled(out.data(), rounds ? round_to_bf16(p) : p, value, size);
    }
    for (int64_t i = 0; i < size; ++i) {
      store_element(o, query, head * size + i, sum > 0 ? out[static_cast<size_t>(i)] / sum : 0.0);
    }
    store_element(lse, head, query, log_sum_exp(problem.pairs, -1));
    for (int32_t s = 0; source_lse.defined() && s < plan.sources; ++s) {
      store_element(source_lse, s, head * queries + query, log_sum_exp(problem.pairs, s));
    }
  });
}

namespace {

void store_gradient(const Tensor& to, const Values& from, double factor, bool accumulate) {
  for (int64_t r = 0; r < to.rows(); ++r) {
    for (int64_t i = 0; i < to.row_size(); ++i) {
      double before = accumulate ? load_element(to, r, i) : 0.0;
      store_element(to, r, i, before + factor * from.data[static_cast<size_t>(r * from.row_size + i)]);
    }
  }
}

}  // namespace

void span_attention_backward(const Tensor& dq, std::span<const KeyValueGradient> gradients, const Tensor& d_o,
                             const Tensor& o, const Tensor& lse, const Tensor& d_source_lse, const Tensor& source_lse,
                             const Tensor& q, std::span<const KeyValueSource> sources, const SpanPlan& plan,
                             double scale) {
  Problem problem(q, sources, plan, scale);
  int64_t size = q.shape[2], queries = q.shape[0];
  bool rounds = rounds_to_bf16(q);
  Values out(o), d_out(d_o), d_query(queries, q.row_size(), size);
  std::vector<Values> d_key, d_value;
  for (const KeyValueSource& source : sources) {
    d_key.emplace_back(source.k.rows(), source.k.row_size(), size);
    d_value.emplace_back(source.v.rows(), source.v.row_size(), size);
  }
  problem.for_each_query([&](int64_t query, int64_t head) {
    int64_t key_head = head / problem.group;
    const double* gradient = d_out.at(query, head);
    double delta = dot(gradient, out.at(query, head), size);
    double total = load_element(lse, head, query);
    for (const Pair& pair : problem.pairs) {
      auto s = static_cast<size_t>(pair.source);
      double p = std::exp(pair.score - total);
      double ds = p * (dot(gradient, problem.v[s].at(pair.key, key_head), size) - delta);
      if (d_source_lse.defined()) {
        int64_t at = head * queries + query;
        double p_source = std::exp(pair.score - load_element(source_lse, pair.source, at));
        ds += load_element(d_source_lse, pair.source, at) * p_source;
      }
      if (rounds) {
        p = round_to_bf16(p);
        ds = round_to_bf16(ds);
      }
      add_scaled(d_value[s].at(pair.key, key_head), p, gradient, size);
      add_scaled(d_key[s].at(pair.key, key_head), ds, problem.q.at(query, head), size);
      add_scaled(d_query.at(query, head), ds, problem.k[s].at(pair.key, key_head), size);
    }
  });
  store_gradient(dq, d_query, scale, false);
  for (size_t s = 0; s < gradients.size(); ++s) {
    store_gradient(gradients[s].dk, d_key[s], scale, gradients[s].accumulate);
    store_gradient(gradients[s].dv, d_value[s], 1.0, gradients[s].accumulate);
  }
}

}  // namespace tandem::ref
