// One model at several widths: what studies of muP compare.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "arch/config.h"

namespace tandem {

// Depth, head size, the ratio of query to key heads and that of the MLP to the width stay; the number of heads follows
// the width. InputError when the width is no multiple of the heads' size, or has no whole number of key heads.
ModelConfig at_width(const ModelConfig& config, int64_t width);

// With muP: base width and base head size as the config has them, or else `base_width` and the head size. Without:
// the standard parametrisation, in which neither rates nor scales know the width.
ModelConfig with_mup(const ModelConfig& config, bool mup, int64_t base_width);

// Slope of the least-squares line through (log x, log y); NaN when a value is not positive or all x are the same.
double log_slope(std::span<const double> x, std::span<const double> y);

}  // namespace tandem
