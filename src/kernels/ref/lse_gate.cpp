#include "kernels/ref/lse_gate.h"

#include <cmath>

namespace tandem::ref {
namespace {

struct Gate {
  double difference;  // of the biased log-sum-exps; 0 where both attentions saw nothing
  double weight;      // of a
};

Gate gate(const Tensor& lse_a, const Tensor& lse_b, const Tensor& bias, double temperature, int64_t head,
          int64_t query) {
  double x = load_element(lse_a, head, query) + load_element(bias, head, 0);
  double y = load_element(lse_b, head, query) + load_element(bias, head, 1);
  double difference = x == y ? 0 : x - y;  // -infinity - -infinity counts as no difference
  return {difference, 1 / (1 + std::exp(-difference * temperature))};
}

}  // namespace

void lse_gate_forward(const Tensor& o, const Tensor& a, const Tensor& b, const Tensor& lse_a, const Tensor& lse_b,
                      const Tensor& bias, const Tensor& temperature) {
  int64_t heads = o.shape[1], size = o.shape[2];
  for (int64_t t = 0; t < o.rows(); ++t) {
    for (int64_t h = 0; h < heads; ++h) {
      double g = gate(lse_a, lse_b, bias, load_element(temperature, h, 0), h, t).weight;
      for (int64_t i = h * size; i < (h + 1) * size; ++i) {
        store_element(o, t, i, g * load_element(a, t, i) + (1 - g) * load_element(b, t, i));
      }
    }
  }
}

void lse_gate_backward(const Tensor& da, const Tensor& db, const Tensor& dlse_a, const Tensor& dlse_b,
                       const Tensor& dbias, const Tensor& dtemperature, const Tensor& d_o, const Tensor& a,
                       const Tensor& b, const Tensor& lse_a, const Tensor& lse_b, const Tensor& bias,
                       const Tensor& temperature) {
  int64_t heads = d_o.shape[1], size = d_o.shape[2];
  for (int64_t h = 0; h < heads; ++h) {
    double temper = load_element(temperature, h, 0), sum_bias = 0, sum_temperature = 0;
    for (int64_t t = 0; t < d_o.rows(); ++t) {
      Gate g = gate(lse_a, lse_b, bias, temper, h, t);
      double dg = 0;
      for (int64_t i = h * size; i < (h + 1) * size; ++i) {
        double d = load_element(d_o, t, i);
        dg += d * (load_element(a, t, i) - load_element(b, t, i));
        store_element(da, t, i, g.weight * d);
        store_element(db, t, i, (1 - g.weight) * d);
      }
      double slope = dg * g.weight * (1 - g.weight);  // gradient for difference * temperature
      store_element(dlse_a, h, t, slope * temper);
      store_element(dlse_b, h, t, -slope * temper);
      sum_bias += slope * temper;
      if (slope != 0) sum_temperature += slope * g.difference;  // 0 where the difference is infinite: the gate is shut
    }
    store_element(dbias, h, 0, load_element(dbias, h, 0) + sum_bias);
    store_element(dbias, h, 1, load_element(dbias, h, 1) - sum_bias);
    store_element(dtemperature, h, 0, load_element(dtemperature, h, 0) + sum_temperature);
  }
}

}  // namespace tandem::ref
