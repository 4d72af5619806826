#include "train/widths.h"

#include <cmath>
#include <limits>

#include "base/error.h"

namespace tandem {

ModelConfig at_width(const ModelConfig& config, int64_t width) {
  int64_t head = config.head_size();
  int64_t per_key_head = config.n_heads / config.kv_heads();  // query heads that share one key head
  if (width < head || width % (head * per_key_head) != 0) {
    throw InputError({.what = "width",
                      .got = fmt::format("{}", width),
                      .expected = fmt::format("a multiple of {}: heads of {} features, {} to a key head",
                                              head * per_key_head, head, per_key_head),
                      .hint = "choose smaller heads with model.n_heads or model.head_dim"});
  }
  ModelConfig scaled = config;
  scaled.dim = width;
  scaled.n_heads = width / head;
  if (config.n_kv_heads > 0) scaled.n_kv_heads = scaled.n_heads / per_key_head;
  if (config.n_self_heads > 0) scaled.n_self_heads = config.n_self_heads * width / config.dim;
  if (config.mlp_dim > 0) scaled.mlp_dim = config.mlp_dim * width / config.dim;
  return scaled;
}

ModelConfig with_mup(const ModelConfig& config, bool mup, int64_t base_width) {
  ModelConfig out = config;
  if (!mup) {
    out.mup_base_dim = out.mup_base_head_dim = 0;
    return out;
  }
  if (out.mup_base_dim == 0) out.mup_base_dim = base_width;
  if (out.mup_base_head_dim == 0) out.mup_base_head_dim = out.head_size();
  return out;
}

double log_slope(std::span<const double> x, std::span<const double> y) {
  double n = 0, sx = 0, sy = 0, sxx = 0, sxy = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    if (!(x[i] > 0) || !(y[i] > 0)) return std::numeric_limits<double>::quiet_NaN();
    double u = std::log(x[i]), v = std::log(y[i]);
    n += 1;
    sx += u;
    sy += v;
    sxx += u * u;
    sxy += u * v;
  }
  double spread = n * sxx - sx * sx;
  return spread > 1e-12 * n * sxx ? (n * sxy - sx * sy) / spread : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace tandem
