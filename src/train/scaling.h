// What a training step costs on many ranks: bytes that are sent, and the time that they take beside the computing.
// docs/scaling.md has the derivation and compares it with runs.
#pragma once

#include <cstdint>

#include "base/json_fwd.h"

namespace tandem {

struct ScalingJob {
  double parameters = 0;       // elements
  double flops_per_token = 0;  // of training
  double tokens_per_step = 0;  // of all ranks together
  double passes = 1;        // micro-batches of one rank in a step: only the last one's backward pass hides an exchange
  double buckets = 1;       // that gradients are exchanged in
  int gradient_bytes = 4;   // per element as it is sent
  int parameter_bytes = 4;  // per element as ZeRO sends it back
  bool zero = false;
};

struct ScalingMachine {
  int ranks = 1;
  double flops = 0;      // per second and rank, as training reaches them, not the peak
  double bandwidth = 0;  // bytes per second that a rank sends while it receives as many
  double latency = 0;    // seconds of a message
};

struct ScalingPrediction {
  double bytes_per_rank = 0;    // sent in a step
  double compute_seconds = 0;   // of a step
  double exchange_seconds = 0;  // all of them, hidden or not
  double exposed_seconds = 0;   // of them, those in which nothing is computed
  double step_seconds = 0;
  double tokens_per_second = 0;  // of all ranks
  double efficiency = 0;         // tokens per second over those of as many ranks that exchange nothing, 0..1
};

// With n elements, N ranks, b bytes per element, F FLOPs per token, T tokens per step, machine C, B, l, K buckets:
//   bytes_per_rank = (N - 1) / N * n * (b + b'), b' = b or, with ZeRO, the bytes of a parameter
//   compute        = F T / (N C), of which a third is the forward pass
//   exchange       = bytes / B + 2 K (N - 1) l: the messages of a bucket, there and back
//   hidden         = the part of the exchange that may run beside the last backward pass, 2/3 compute / passes, at
//                    most; never the last bucket's, and with ZeRO never the way back, which follows the update
ScalingPrediction predict(const ScalingJob& job, const ScalingMachine& machine);

OrderedJson to_json(const ScalingPrediction& prediction);

}  // namespace tandem
