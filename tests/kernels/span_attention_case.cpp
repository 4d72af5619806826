#include "kernels/span_attention_case.h"

#include <limits>

#include "kernels/cpu/kernels.h"

namespace tandem::testing {

AttentionCase causal_case(int64_t rows, int64_t length) {
  AttentionCase out;
  out.queries = rows * length;
  out.keys = {rows * length};
  for (int64_t r = 0; r < rows; ++r) {
    out.plan.add_run(r * length, (r + 1) * length);
    out.plan.add_span({.begin = r * length, .end = (r + 1) * length, .shift = 0});
  }
  return out;
}

AttentionCase block_case(int64_t rows, int64_t length, int64_t block) {
  AttentionCase out;
  out.queries = rows * length;
  out.keys = {rows * length, rows * length};
  out.plan.sources = 2;
  for (int64_t r = 0; r < rows; ++r) {
    int64_t first = r * length;
    for (int64_t b = 0; b < length; b += block) {
      int64_t end = first + std::min(length, b + block);
      out.plan.add_run(first + b, end);
      out.plan.add_span({.source = 0, .begin = first + b, .end = end, .shift = 0});
      out.plan.add_span({.source = 1, .begin = first, .end = first + std::max<int64_t>(b, 1)});
    }
  }
  return out;
}

AttentionCase window_case(int64_t rows, int64_t length, int64_t window) {
  AttentionCase out;
  out.queries = rows * length;
  out.keys = {rows * length};
  for (int64_t r = 0; r < rows; ++r) {
    out.plan.add_run(r * length, (r + 1) * length);
    // Queries still within `window` of key 0 see it in the second span's place: it begins after it.
    out.plan.add_span({.begin = r * length, .end = r * length + 1});
    out.plan.add_span({.begin = r * length + 1, .end = (r + 1) * length, .shift = 0, .window = window});
  }
  return out;
}

AttentionCase decode_case(int64_t queries, int64_t memory, int64_t own) {
  AttentionCase out;
  out.queries = queries;
  out.keys = {own + queries + 5, memory + 3};  // caches with room left
  out.plan.sources = 2;
  out.plan.add_run(0, queries);
  out.plan.add_span({.source = 0, .begin = 0, .end = own + queries, .shift = own});
  out.plan.add_span({.source = 1, .begin = 0, .end = memory});
  return out;
}

AttentionCase batch_decode_case(int64_t requests, int64_t longest) {
  AttentionCase out;
  out.queries = requests;
  out.keys = {requests * longest};
  for (int64_t r = 0; r < requests; ++r) {
    out.plan.add_run(r, r + 1);
    out.plan.add_span({.begin = r * longest, .end = r * longest + 1 + r * (longest - 1) / requests});
  }
  return out;
}

AttentionCase many_spans_case() {
  AttentionCase problem;
  problem.queries = 75;
  problem.keys = {400};
  problem.plan.add_run(0, 5);
  problem.plan.add_span({.begin = 0, .end = 3});
  problem.plan.add_run(5, 75);
  for (int64_t page = 24; page-- > 0;) problem.plan.add_span({.begin = page * 16, .end = page * 16 + 11});
  return problem;
}

AttentionCase random_case(uint64_t seed) {
  Rng rng(seed, 3);
  auto upto = [&](int64_t n) { return static_cast<int64_t>(rng.below(static_cast<uint32_t>(n + 1))); };
  AttentionCase out;
  out.plan.sources = static_cast<int32_t>(1 + upto(2));
  for (int32_t s = 0; s < out.plan.sources; ++s) out.keys.push_back(1 + upto(200));
  int64_t most_run = upto(3) == 0 ? 200 : 1 + upto(20);
  while (out.queries < 150) {
    int64_t end = out.queries + 1 + upto(most_run);
    out.plan.add_run(out.queries, end);
    for (int32_t s = 0; s < out.plan.sources; ++s) {
      int64_t next = 0, keys = out.keys[static_cast<size_t>(s)];
      for (int64_t i = upto(3); i > 0 && next < keys; --i) {
        KeySpan span{.source = s, .begin = next + upto(keys - next), .end = 0};
        span.end = span.begin + upto(keys - span.begin);
        if (upto(1) == 0) span.shift = upto(200) - 100;
        if (upto(2) == 0) span.window = 1 + upto(40);
        if (span.shift == KeySpan::kNoLimit) span.window = 2 * KeySpan::kNoLimit;
        next = span.end;
        out.plan.add_span(span);
      }
    }
    out.queries = end;
  }
  out.key_heads = 1 + upto(1);
  out.heads = out.key_heads * (1 + upto(2));
  out.head_size = 2 * (1 + upto(30));
  return out;
}

namespace {

Shape heads_shape(const AttentionCase& p, int64_t rows, int64_t heads) { return {rows, heads, p.head_size}; }

int64_t wide_stride(const AttentionCase& p) { return (p.heads + 2 * p.key_heads) * p.head_size + 6; }

// The end of the keys of a source that some query may see: what lies behind, the free rest of a cache, is never read.
int64_t last_seen(const AttentionCase& p, size_t source) {
  int64_t end = 0;
  for (const QueryRun& run : p.plan.runs) {
    for (int32_t s = 0; s < run.spans; ++s) {
      const KeySpan& span = p.plan.spans[static_cast<size_t>(run.first_span + s)];
      if (static_cast<size_t>(span.source) != source || run.begin >= run.end) continue;
      end = std::max(end, visible_keys(span, run.end - 1).end);
    }
  }
  return end;
}

DType wide_type(DType dtype) { return is_reference(dtype) ? DType::f64 : DType::f32; }

}  // namespace

AttentionRun::AttentionRun(const AttentionCase& p, DType dtype, DType gradient_dtype, uint64_t seed, bool by_source)
    : q(dtype, heads_shape(p, p.queries, p.heads), wide_stride(p)),
      o(dtype, heads_shape(p, p.queries, p.heads)),
      d_o(dtype, heads_shape(p, p.queries, p.heads)),
      dq(gradient_dtype, heads_shape(p, p.queries, p.heads), wide_stride(p)),
      lse(wide_type(dtype), {p.heads, p.queries}),
      source_lse(wide_type(dtype), {p.plan.sources, p.heads, p.queries}),
      d_source_lse(wide_type(dtype), {p.plan.sources, p.heads, p.queries}),
      problem_(p),
      by_source_(by_source) {
  for (size_t s = 0; s < p.keys.size(); ++s) {
    Shape shape = heads_shape(p, p.keys[s], p.key_heads);
    int64_t seen = last_seen(p, s);
    auto free_rest = [&](Guarded& t) {
      for (int64_t r = seen; r < p.keys[s]; ++r) {
        for (int64_t i = 0; i < t.tensor().row_size(); ++i) store_element(t, r, i, std::nan(""));
      }
    };
    int64_t stride = s == 0 ? wide_stride(p) : 0;
    k.emplace_back(dtype, shape, stride).fill_normal(seed + 10 + s);
    v.emplace_back(dtype, shape, stride).fill_normal(seed + 20 + s);
    free_rest(k.back());
    free_rest(v.back());
    dk.emplace_back(gradient_dtype, shape, stride);
    dv.emplace_back(gradient_dtype, shape, stride);
  }
  q.fill_normal(seed);
  d_o.fill_normal(seed + 1);
  d_source_lse.fill_normal(seed + 2, 0.3);
}

AttentionRun::AttentionRun(const AttentionRun& from, DType dtype, DType gradient_dtype)
    : AttentionRun(from.problem_, dtype, gradient_dtype, 0, from.by_source_) {
  by = from.by;
  q.copy(from.q);
  d_o.copy(from.d_o);
  d_source_lse.copy(from.d_source_lse);
  for (size_t s = 0; s < k.size(); ++s) {
    k[s].copy(from.k[s]);
    v[s].copy(from.v[s]);
  }
}

std::vector<KeyValueSource> AttentionRun::sources() const {
  std::vector<KeyValueSource> out;
  for (size_t s = 0; s < k.size(); ++s) out.push_back({k[s], v[s]});
  return out;
}

void AttentionRun::forward(Context& ctx) {
  kernels::span_attention_forward(ctx, by ? *by : cpu::span_attention(ctx.isa()), o, lse,
                                  by_source_ ? source_lse.tensor() : Tensor(), q, sources(), problem_.plan,
                                  problem_.scale);
}

void AttentionRun::backward(Context& ctx, bool accumulate) {
  std::vector<KeyValueGradient> gradients;
  for (size_t s = 0; s < k.size(); ++s) gradients.push_back({dk[s], dv[s], accumulate});
  kernels::span_attention_backward(ctx, by ? *by : cpu::span_attention(ctx.isa()), dq, gradients, d_o, o, lse,
                                   by_source_ ? d_source_lse.tensor() : Tensor(),
                                   by_source_ ? source_lse.tensor() : Tensor(), q, sources(), problem_.plan,
                                   problem_.scale);
}

bool AttentionRun::intact() const {
  bool all = q.intact() && o.intact() && d_o.intact() && dq.intact() && lse.intact() && source_lse.intact();
  for (size_t s = 0; s < k.size(); ++s) all = all && k[s].intact() && v[s].intact() && dk[s].intact() && dv[s].intact();
  return all;
}

bool AttentionRun::same_results(const AttentionRun& other) const {
  bool all = same_bits(o, other.o) && same_bits(lse, other.lse) && same_bits(dq, other.dq) &&
             same_bits(source_lse, other.source_lse);
  for (size_t s = 0; s < k.size(); ++s) all = all && same_bits(dk[s], other.dk[s]) && same_bits(dv[s], other.dv[s]);
  return all;
}

namespace {

// One visible pair of a query head: magnitudes that its errors are made of.
struct PairError {
  size_t source;
  int64_t key;
  double p;         // probability
  double p_source;  // among its source
  double p_error;   // relative
  double ds;        // magnitude of the score's gradient
  double ds_error;  // absolute
};

double magnitude(const Tensor& a, int64_t ra, int64_t ha, const Tensor& b, int64_t rb, int64_t hb) {
  double sum = 0;
  int64_t size = a.shape[2];
  for (int64_t i = 0; i < size; ++i) {
    sum += std::abs(load_element(a, ra, ha * size + i) * load_element(b, rb, hb * size + i));
  }
  return sum;
}

double product(const Tensor& a, int64_t ra, int64_t ha, const Tensor& b, int64_t rb, int64_t hb) {
  double sum = 0;
  int64_t size = a.shape[2];
  for (int64_t i = 0; i < size; ++i) sum += load_element(a, ra, ha * size + i) * load_element(b, rb, hb * size + i);
  return sum;
}

std::vector<PairError> pair_errors(const AttentionRun& run, const QueryRun& of, int64_t t, int64_t h,
                                   double exp_error) {
  const AttentionCase& p = run.problem();
  int64_t key_head = h * p.key_heads / p.heads, size = p.head_size;
  double path = static_cast<double>(size) + 6;
  double lse = load_element(run.lse, h, t);
  std::vector<PairError> out;
  for (int32_t i = 0; i < of.spans; ++i) {
    const KeySpan& span = p.plan.spans[static_cast<size_t>(of.first_span + i)];
    auto s = static_cast<size_t>(span.source);
    KeyRange range = visible_keys(span, t);
    double source_lse = load_element(run.source_lse, span.source, h * p.queries + t);
    double d_source = load_element(run.d_source_lse, span.source, h * p.queries + t);
    for (int64_t j = range.begin; j < range.end; ++j) {
      PairError e{};
      e.source = s;
      e.key = j;
      double score = p.scale * product(run.q, t, h, run.k[s], j, key_head);
      double score_error = path * kUnit * p.scale * magnitude(run.q, t, h, run.k[s], j, key_head);
      e.p = std::exp(score - lse);
      e.p_error = score_error + 4 * kUnit * (std::abs(score) + std::abs(lse)) + exp_error;
      double dp = product(run.d_o, t, h, run.v[s], j, key_head);
      double delta = product(run.d_o, t, h, run.o, t, h);
      double dp_error =
          path * kUnit * (magnitude(run.d_o, t, h, run.v[s], j, key_head) + magnitude(run.d_o, t, h, run.o, t, h));
      e.ds = e.p * std::abs(dp - delta);
      e.ds_error = e.ds * e.p_error + e.p * dp_error;
      if (!std::isnan(source_lse)) {  // never written where not asked for
        e.p_source = std::exp(score - source_lse);
        double source_error = score_error + 4 * kUnit * (std::abs(score) + std::abs(source_lse)) + exp_error;
        e.ds += std::abs(d_source) * e.p_source;
        e.ds_error += std::abs(d_source) * e.p_source * (source_error + 2 * kUnit);
      }
      out.push_back(e);
    }
  }
  return out;
}

}  // namespace

AttentionBounds::AttentionBounds(const AttentionRun& run, bool is_bf16) {
  const AttentionCase& p = run.problem();
  int64_t size = p.head_size;
  auto shaped = [](int64_t rows, int64_t width) {
    return Matrix{width, std::vector<double>(static_cast<size_t>(rows * width))};
  };
  o = shaped(p.queries, p.heads * size);
  dq = shaped(p.queries, p.heads * size);
  lse = shaped(p.heads, p.queries);
  source_lse = shaped(p.plan.sources, p.heads * p.queries);
  for (int64_t n : p.keys) {
    dk.push_back(shaped(n, p.key_heads * size));
    dv.push_back(shaped(n, p.key_heads * size));
  }
  double exp_error = is_bf16 ? 1e-5 : 4 * kUnit, flip = is_bf16 ? 2 * kUnitBf16 : 0;
  double query_path = static_cast<double>(p.queries * p.heads / p.key_heads) + 8;
  for (const QueryRun& of : p.plan.runs) {
    for (int64_t t = of.begin; t < of.end; ++t) {
      for (int64_t h = 0; h < p.heads; ++h) {
        int64_t key_head = h * p.key_heads / p.heads;
        auto pairs = pair_errors(run, of, t, h, exp_error);
        double path = static_cast<double>(pairs.size()) + 8, worst = 0;
        for (const PairError& e : pairs) worst = std::max(worst, e.p_error);
        lse.at(h, t) = worst + path * kUnit;
        for (int32_t s = 0; s < p.plan.sources; ++s) source_lse.at(s, h * p.queries + t) = worst + path * kUnit;
        for (const PairError& e : pairs) {
          for (int64_t i = 0; i < size; ++i) {
            double value = std::abs(load_element(run.v[e.source], e.key, key_head * size + i));
            double key = std::abs(load_element(run.k[e.source], e.key, key_head * size + i));
            double query = std::abs(load_element(run.q, t, h * size + i));
            double gradient = std::abs(load_element(run.d_o, t, h * size + i));
            o.at(t, h * size + i) += e.p * value * (2 * worst + 2 * path * kUnit + flip);
            // Numbers below the normal range may be taken for zero, as operands and as results.
            double ds = e.ds_error + flip * e.ds + kSmallest, p_error = e.p * (e.p_error + flip) + kSmallest;
            dq.at(t, h * size + i) += p.scale * key * (ds + path * kUnit * e.ds) + kSmallest;
            dk[e.source].at(e.key, key_head * size + i) +=
                p.scale * query * (ds + query_path * kUnit * e.ds) + kSmallest;
            dv[e.source].at(e.key, key_head * size + i) += gradient * (p_error + query_path * kUnit * e.p) + kSmallest;
          }
        }
      }
    }
  }
}

namespace {

DType reference_type(DType dtype) { return dtype == DType::bf16 ? DType::bf16_in_f64 : DType::f64; }

template <class Matrix>
auto within(const Matrix& bound) {
  return [&bound](int64_t r, int64_t i) { return bound.at(r, i); };
}

// -infinity must be met exactly: then both become 0.
void expect_same_infinities(Guarded& got, Guarded& want, const char* what) {
  for (int64_t r = 0; r < got.tensor().rows(); ++r) {
    for (int64_t i = 0; i < got.tensor().row_size(); ++i) {
      bool nothing = load_element(want, r, i) == -std::numeric_limits<double>::infinity();
      ASSERT_EQ(load_element(got, r, i) == -std::numeric_limits<double>::infinity(), nothing)
          << what << "[" << r << ", " << i << "]";
      if (!nothing) continue;
      store_element(got, r, i, 0);
      store_element(want, r, i, 0);
    }
  }
}

}  // namespace

void check_attention(const AttentionCase& problem, DType dtype, DType gradient_dtype, bool by_source, uint64_t seed,
                     const cpu::SpanAttentionKernels* by) {
  AttentionRun fast(problem, dtype, gradient_dtype, seed, by_source);
  fast.by = by;
  AttentionRun reference(fast, reference_type(dtype), DType::f64);
  fast.forward(context());
  reference.forward(context());

  Guarded lse(DType::f64, reference.lse.tensor().shape), source_lse(DType::f64, reference.source_lse.tensor().shape);
  lse.copy(reference.lse);
  source_lse.copy(reference.source_lse);
  AttentionRun rounded(fast, dtype, gradient_dtype);
  rounded.o.copy(reference.o);
  rounded.lse.copy(reference.lse);
  rounded.source_lse.copy(reference.source_lse);
  reference.lse.copy(rounded.lse);
  reference.source_lse.copy(rounded.source_lse);

  AttentionBounds bounds(reference, dtype == DType::bf16);
  expect_same_infinities(fast.lse, lse, "lse");
  expect_close(fast.o, reference.o, "o", within(bounds.o));
  expect_close(fast.lse, lse, "lse", within(bounds.lse));
  if (by_source) {
    expect_same_infinities(fast.source_lse, source_lse, "source_lse");
    expect_close(fast.source_lse, source_lse, "source_lse", within(bounds.source_lse));
  }

  fast.o.copy(rounded.o);
  fast.lse.copy(rounded.lse);
  fast.source_lse.copy(rounded.source_lse);
  fast.backward(context());
  reference.backward(context());
  expect_close(fast.dq, reference.dq, "dq", within(bounds.dq));
  for (size_t s = 0; s < fast.k.size(); ++s) {
    expect_close(fast.dk[s], reference.dk[s], "dk", within(bounds.dk[s]));
    expect_close(fast.dv[s], reference.dv[s], "dv", within(bounds.dv[s]));
  }
  EXPECT_TRUE(fast.intact());
}

}  // namespace tandem::testing
