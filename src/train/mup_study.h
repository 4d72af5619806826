// Coordinate check of muP (Yang et al. 2022, "Tensor Programs V", appendix D.1): the same few steps at several widths.
// Where the parametrisation is right, neither activations nor what training changes about them grow or shrink with the
// width.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "arch/config.h"
#include "base/cancelled.h"
#include "kernels/context.h"
#include "text/batch.h"
#include "train/optimizer.h"

namespace tandem {

struct MupStudy {
  ModelConfig model;  // dim and heads are those of the base; at_width() makes the others
  bool mup = true;    // false: the standard parametrisation, for contrast
  std::vector<int64_t> widths;
  int64_t steps = 8;  // at the full base rate, without warmup
  int64_t seeds = 2;  // initial parameters 1..seeds; sizes are means over them
  OptimizerConfig optimizer;
  std::vector<Batch> batches;  // steps of them, one each, as they are packed; all widths read the same
  Batch probe;                 // on which activations are measured; small: all of its logits are computed
};

// One activation, or one class of layers, over the widths. RMS: the root of the mean square over all elements.
struct CoordinateSeries {
  std::string name;           // "hidden.enc.3", "logits"
  std::vector<double> sizes;  // at the start, one per width
  // changes[t][w]: RMS of what t + 1 steps have changed about the activation, at width w.
  std::vector<std::vector<double>> changes;
  double size_slope = 0;    // of log sizes over log width
  double change_slope = 0;  // of the changes after the last step
  // After the first step, whose change is still linear in the rate.
  double first_change_slope = 0;
};

struct MupResult {
  std::vector<int64_t> widths;
  std::vector<CoordinateSeries> activations;  // in the order of the forward pass
  std::vector<double> losses;                 // on the probe after the last step, one per width, nats per token
};

// `progress` is called with the share that is done, `cancelled` asked, after every step; a cancelled study throws
// Cancelled. InputError for widths and sizes that do not fit.
MupResult run_mup_study(Context& ctx, const MupStudy& study, const std::function<void(double)>& progress = {},
                        const std::function<bool()>& cancelled = {});

}  // namespace tandem
