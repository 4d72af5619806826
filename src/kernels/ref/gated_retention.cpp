#include "kernels/ref/gated_retention.h"

#include <cmath>

namespace tandem::kernels::ref {
namespace {

// One head: its features in the rows of the operands, and its part of the states.
struct Head {
  const Tensor& k;
  const Tensor& v;
  const Tensor& log_decay;
  const Tensor& states;
  int64_t head;
  int64_t size;
  double scale;

  int64_t at(int64_t feature) const { return head * size + feature; }
  int64_t in_state(int64_t a, int64_t b) const { return head * states.shape[2] + a * size + b; }

  std::vector<double> load_state(int64_t index) const {
    std::vector<double> s(static_cast<size_t>(size * size), 0.0);
    if (index == RetentionTile::kNone) return s;
    for (int64_t a = 0; a < size; ++a) {
      for (int64_t b = 0; b < size; ++b)
        s[static_cast<size_t>(a * size + b)] = load_element(states, index, in_state(a, b));
    }
    return s;
  }
  void store_state(int64_t index, const std::vector<double>& s) const {
    for (int64_t a = 0; a < size; ++a) {
      for (int64_t b = 0; b < size; ++b)
        store_element(states, index, in_state(a, b), s[static_cast<size_t>(a * size + b)]);
    }
  }
  // S <- exp(a) S + scale k^T v of one row.
  void add_token(std::vector<double>& s, int64_t row) const {
    double decay = std::exp(load_element(log_decay, row, head));
    for (int64_t a = 0; a < size; ++a) {
      for (int64_t b = 0; b < size; ++b) {
        double& each = s[static_cast<size_t>(a * size + b)];
        each = decay * each + scale * load_element(k, row, at(a)) * load_element(v, row, at(b));
      }
    }
  }
};

struct Gradients {
  const Tensor& dq;
  const Tensor& dk;
  const Tensor& dv;
  const Tensor& d_decay;
  const Tensor& d_o;
  const Tensor& q;
};

// The token of `row` with the states before and behind it; ds is the gradient for the state behind, then for the one
// before.
void token_backward(const Head& head, const Gradients& g, std::vector<double>& ds, const std::vector<double>& before,
                    const std::vector<double>& behind, int64_t row) {
  int64_t n = head.size;
  double decay = std::exp(load_element(head.log_decay, row, head.head)), slope = 0;
  std::vector<double> dv(static_cast<size_t>(n), 0.0);
  for (int64_t a = 0; a < n; ++a) {
    double dq = 0, dk = 0;
    for (int64_t b = 0; b < n; ++b) {
      auto i = static_cast<size_t>(a * n + b);
      double d = load_element(g.d_o, row, head.at(b));
      dq += d * behind[i];
      ds[i] += load_element(g.q, row, head.at(a)) * d;
      dk += ds[i] * load_element(head.v, row, head.at(b));
      dv[static_cast<size_t>(b)] += ds[i] * load_element(head.k, row, head.at(a));
      slope += ds[i] * decay * before[i];
      ds[i] *= decay;
    }
    store_element(g.dq, row, head.at(a), dq);
    store_element(g.dk, row, head.at(a), head.scale * dk);
  }
  for (int64_t b = 0; b < n; ++b) store_element(g.dv, row, head.at(b), head.scale * dv[static_cast<size_t>(b)]);
  store_element(g.d_decay, row, head.head, slope);
}

int64_t end_of(const RetentionPlan& plan, size_t sequence) {
  return sequence + 1 < plan.sequences.size() ? plan.sequences[sequence + 1] : static_cast<int64_t>(plan.tiles.size());
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

}  // namespace

void gated_retention_forward(const Tensor& o, const Tensor& q, const Tensor& k, const Tensor& v,
                             const Tensor& log_decay, const Tensor& states, const RetentionPlan& plan, double scale) {
  for (const RetentionTile& tile : plan.tiles) {
    for (int64_t h = 0; h < q.shape[1]; ++h) {
      Head head{k, v, log_decay, states, h, q.shape[2], scale};
      std::vector<double> s = head.load_state(tile.before);
      for (int64_t t = 0; t < tile.tokens; ++t) {
        head.add_token(s, tile.keys + t);
        int64_t query = t - tile.first_query;
        if (query < 0 || query >= tile.queries) continue;
        for (int64_t b = 0; b < head.size; ++b) {
          double sum = 0;
          for (int64_t a = 0; a < head.size; ++a) {
            sum += load_element(q, tile.query_row + query, head.at(a)) * s[static_cast<size_t>(a * head.size + b)];
          }
          store_element(o, tile.query_row + query, head.at(b), sum);
        }
      }
      if (tile.behind != RetentionTile::kNone) head.store_state(tile.behind, s);
    }
  }
}

void gated_retention_backward(const Tensor& dq, const Tensor& dk, const Tensor& dv, const Tensor& d_decay,
                              const Tensor& d_o, const Tensor& q, const Tensor& k, const Tensor& v,
                              const Tensor& log_decay, const Tensor& states, const RetentionPlan& plan, double scale) {
  Gradients gradients{dq, dk, dv, d_decay, d_o, q};
  for (size_t sequence = 0; sequence < plan.sequences.size(); ++sequence) {
    for (int64_t h = 0; h < q.shape[1]; ++h) {
      Head head{k, v, log_decay, states, h, q.shape[2], scale};
      std::vector<double> ds(static_cast<size_t>(head.size * head.size), 0.0);
      for (int64_t i = end_of(plan, sequence) - 1; i >= plan.sequences[sequence]; --i) {
        const RetentionTile& tile = plan.tiles[static_cast<size_t>(i)];
        std::vector<std::vector<double>> s{head.load_state(tile.before)};
        for (int64_t t = 0; t < tile.tokens; ++t) {
          s.push_back(s.back());
          head.add_token(s.back(), tile.keys + t);
        }
        for (int64_t t = tile.tokens - 1; t >= 0; --t) {
          auto at = static_cast<size_t>(t);
          token_backward(head, gradients, ds, s[at], s[at + 1], tile.keys + t);
        }
      }
    }
  }
}

void log_decay_forward(const Tensor& y, const Tensor& x, double divisor) {
  for (int64_t t = 0; t < x.rows(); ++t) {
    for (int64_t h = 0; h < x.row_size(); ++h) {
      double v = load_element(x, t, h);
      store_element(y, t, h, (std::min(v, 0.0) - std::log1p(std::exp(-std::abs(v)))) / divisor);
    }
  }
}

void log_decay_backward(const Tensor& dx, const Tensor& dy, const Tensor& x, double divisor) {
  for (int64_t t = 0; t < x.rows(); ++t) {
    for (int64_t h = 0; h < x.row_size(); ++h) {
      store_element(dx, t, h, load_element(dy, t, h) * sigmoid(-load_element(x, t, h)) / divisor);
    }
  }
}

}  // namespace tandem::kernels::ref
