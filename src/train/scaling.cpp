#include "train/scaling.h"

#include <algorithm>

#include "base/json.h"

namespace tandem {

ScalingPrediction predict(const ScalingJob& job, const ScalingMachine& machine) {
  double ranks = machine.ranks;
  double others = (ranks - 1) / ranks;
  double there = others * job.parameters * job.gradient_bytes;
  double back = others * job.parameters * (job.zero ? job.parameter_bytes : job.gradient_bytes);
  double messages = job.buckets * (ranks - 1) * machine.latency;
  auto seconds = [&](double bytes) { return machine.ranks > 1 ? bytes / machine.bandwidth + messages : 0; };

  ScalingPrediction p;
  p.bytes_per_rank = there + back;
  p.compute_seconds = job.flops_per_token * job.tokens_per_step / ranks / machine.flops;
  p.exchange_seconds = seconds(there) + seconds(back);
  double beside_backward = seconds(there) + (job.zero ? 0 : seconds(back));
  double backward = 2.0 / 3.0 * p.compute_seconds / job.passes;
  double hidden = std::min(backward, beside_backward * (1 - 1 / job.buckets));
  p.exposed_seconds = p.exchange_seconds - hidden;
  p.step_seconds = p.compute_seconds + p.exposed_seconds;
  p.tokens_per_second = job.tokens_per_step / p.step_seconds;
  p.efficiency = p.compute_seconds / p.step_seconds;
  return p;
}

OrderedJson to_json(const ScalingPrediction& p) {
  return {{"bytes_per_rank", p.bytes_per_rank},
          {"compute_seconds", p.compute_seconds},
          {"exchange_seconds", p.exchange_seconds},
          {"exposed_seconds", p.exposed_seconds},
          {"step_seconds", p.step_seconds},
          {"tokens_per_second", p.tokens_per_second},
          {"efficiency", p.efficiency}};
}

}  // namespace tandem
