#include "kernels/lse_gate.h"

#include <cmath>

#include "base/error.h"
#include "kernels/chunks.h"
#include "kernels/cpu/kernels.h"
#include "kernels/ref/lse_gate.h"

namespace tandem::kernels {
namespace {

struct Gate {
  double difference;  // of the biased log-sum-exps; 0 where both attentions saw nothing
  double weight;      // of a
};

Gate gate(const Tensor& lse_a, const Tensor& lse_b, const Tensor& bias, float temperature, int64_t head,
          int64_t query) {
  double x = double{lse_a.row<float>(head)[query]} + bias.row<float>(head)[0];
  double y = double{lse_b.row<float>(head)[query]} + bias.row<float>(head)[1];
  double difference = x == y ? 0 : x - y;  // -infinity - -infinity counts as no difference
  return {difference, 1 / (1 + std::exp(-difference * temperature))};
}

[[noreturn]] void refuse_types(const Tensor& values, const Tensor& gradients) {
  throw LogicError({.what = "lse_gate: types of values and gradients",
                    .got = fmt::format("{} and {}", dtype_name(values.dtype), dtype_name(gradients.dtype)),
                    .expected = "float32 or bf16 values with gradients of their type or float32"});
}

// One query of one head; returns the sum of d_o * (a - b).
double gradient_row(const cpu::LseGateKernels& kernels, const Tensor& da, const Tensor& db, const Tensor& d_o,
                    const Tensor& a, const Tensor& b, float g, int64_t t, int64_t i, int64_t n) {
  bool narrow_values = a.dtype == DType::bf16, narrow_gradients = d_o.dtype == DType::bf16;
  if (narrow_gradients) {
    if (!narrow_values || da.dtype != DType::bf16 || db.dtype != DType::bf16) refuse_types(a, d_o);
    return kernels.gradient_bf16(da.row<bf16>(t) + i, db.row<bf16>(t) + i, d_o.row<bf16>(t) + i, a.row<bf16>(t) + i,
                                 b.row<bf16>(t) + i, g, n);
  }
  if (da.dtype != DType::f32 || db.dtype != DType::f32) refuse_types(a, da);
  float* to_a = da.row<float>(t) + i;
  float* to_b = db.row<float>(t) + i;
  const float* d = d_o.row<float>(t) + i;
  return narrow_values ? kernels.gradient_bf16_f32(to_a, to_b, d, a.row<bf16>(t) + i, b.row<bf16>(t) + i, g, n)
                       : kernels.gradient_f32(to_a, to_b, d, a.row<float>(t) + i, b.row<float>(t) + i, g, n);
}

}  // namespace

void lse_gate_forward(Context& ctx, const Tensor& o, const Tensor& a, const Tensor& b, const Tensor& lse_a,
                      const Tensor& lse_b, const Tensor& bias, const Tensor& temperature) {
  ProfileScope scope(ctx.profiler(), "lse_gate", 3.0 * static_cast<double>(o.elements()),
                     3.0 * static_cast<double>(o.bytes()));
  if (is_reference(o.dtype)) return ref::lse_gate_forward(o, a, b, lse_a, lse_b, bias, temperature);
  const cpu::LseGateKernels& kernels = ctx.cpu().lse_gate;
  int64_t heads = o.shape[1], n = o.shape[2];
  for_ranges(ctx, o.rows(), chunk_rows(o.row_size()), [&](Range rows) {
    for (int64_t t = rows.begin; t < rows.end; ++t) {
      for (int64_t h = 0; h < heads; ++h) {
        auto g = static_cast<float>(gate(lse_a, lse_b, bias, temperature.as<float>()[h], h, t).weight);
        if (o.dtype == DType::bf16) {
          kernels.blend_bf16(o.row<bf16>(t) + h * n, a.row<bf16>(t) + h * n, b.row<bf16>(t) + h * n, g, n);
        } else {
          kernels.blend_f32(o.row<float>(t) + h * n, a.row<float>(t) + h * n, b.row<float>(t) + h * n, g, n);
        }
      }
    }
  });
}

void lse_gate_backward(Context& ctx, const Tensor& da, const Tensor& db, const Tensor& dlse_a, const Tensor& dlse_b,
                       const Tensor& dbias, const Tensor& dtemperature, const Tensor& d_o, const Tensor& a,
                       const Tensor& b, const Tensor& lse_a, const Tensor& lse_b, const Tensor& bias,
                       const Tensor& temperature) {
  ProfileScope scope(ctx.profiler(), "lse_gate.backward", 5.0 * static_cast<double>(d_o.elements()),
                     5.0 * static_cast<double>(d_o.bytes()));
  if (is_reference(a.dtype)) {
    return ref::lse_gate_backward(da, db, dlse_a, dlse_b, dbias, dtemperature, d_o, a, b, lse_a, lse_b, bias,
                                  temperature);
  }
  const cpu::LseGateKernels& kernels = ctx.cpu().lse_gate;
  int64_t n = d_o.shape[2];
  // One chunk per head: the sums over queries have one order.
  ctx.pool().run(d_o.shape[1], [&](int64_t h, int) {
    double temper = temperature.as<float>()[h], sum_bias = 0, sum_temperature = 0;
    for (int64_t t = 0; t < d_o.rows(); ++t) {
      Gate g = gate(lse_a, lse_b, bias, static_cast<float>(temper), h, t);
      double dg = gradient_row(kernels, da, db, d_o, a, b, static_cast<float>(g.weight), t, h * n, n);
      double slope = dg * g.weight * (1 - g.weight);  // gradient for difference * temperature
      dlse_a.row<float>(h)[t] = static_cast<float>(slope * temper);
      dlse_b.row<float>(h)[t] = static_cast<float>(-slope * temper);
      sum_bias += slope * temper;
      if (slope != 0) sum_temperature += slope * g.difference;  // 0 where the difference is infinite: the gate is shut
    }
    float* bias_out = dbias.row<float>(h);
    bias_out[0] += static_cast<float>(sum_bias);
    bias_out[1] -= static_cast<float>(sum_bias);
    dtemperature.as<float>()[h] += static_cast<float>(sum_temperature);
  });
}

}  // namespace tandem::kernels
