// What this machine can do at most, measured now: the yardstick for the share of the peak that training reaches.
#pragma once

#include "kernels/context.h"

namespace tandem::kernels {

struct Peak {
  double f32_flops = 0;              // multiply-adds of f32 count as two operations; all threads together, per second
  double bf16_flops = 0;             // products of bf16 with f32 sums; 0 where the instruction set has none
  double read_bytes_per_second = 0;  // from memory, by all threads together
};

// Runs each loop several times, about 50 ms each, on all threads of the context, and keeps the best. Takes about a
// second. Other work on the machine lowers the result: compare only with numbers measured beside it.
Peak measure_peak(Context& ctx);

}  // namespace tandem::kernels
