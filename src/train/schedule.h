// How the learning rate follows the progress of a run.
#pragma once

#include <cstdint>

#include "base/fields.h"

namespace tandem {

// What follows the warmup.
enum class ScheduleKind {
  linear,    // falls in a straight line to `floor` times the base rate (the double decoder's authors)
  cosine,    // falls along half a cosine to `floor` (Loshchilov and Hutter 2017, one cycle)
  wsd,       // warm up, stay, decay: stays at the base rate and falls to `floor` in the last part of the run (Hu et
             // al. 2024, MiniCPM, section 4)
  constant,  // stays
};

// The shape of the last part of `wsd`, from 1 to `floor` as q goes from 0 to 1.
enum class DecayShape {
  linear,      // 1 - (1 - floor) * q
  minus_sqrt,  // 1 - (1 - floor) * sqrt(q) (Haegele et al. 2024, "1-sqrt")
};

struct ScheduleConfig {
  ScheduleKind kind = ScheduleKind::linear;
  double warmup_fraction = 0.05;  // of the steps; used when warmup_steps is 0
  int64_t warmup_steps = 0;
  double floor = 0.1;           // last rate over base rate
  double decay_fraction = 0.2;  // wsd: share of the whole run in which the rate falls
  DecayShape decay_shape = DecayShape::linear;
};

void list_fields(FieldList& fields, ScheduleConfig& config);

// InputError for values outside their range.
void check(const ScheduleConfig& config, const std::string& where);

// max(1, int(warmup_fraction * total_steps)) or the number given.
int64_t warmup_steps(const ScheduleConfig& config, int64_t total_steps);

// Factor on the base rate for the step that follows `done` finished ones (the authors' LambdaLR): done / warmup while
// done < warmup, so the first step has rate 0; then, with p = (done - warmup) / (total - warmup):
//   linear    1 - (1 - floor) * p
//   cosine    floor + (1 - floor) * (1 + cos(pi * p)) / 2
//   wsd       1, and for the last decay_fraction of the run (or all that the warmup leaves of it) decay_shape
//   constant  1
// Never below floor, also behind the end of the run.
double rate_factor(const ScheduleConfig& config, int64_t done, int64_t total_steps);

// The same curve over the share of a run that has passed, 0..1, for runs that end by the clock: the warmup is
// warmup_fraction of the time. With warmup_steps it is that number of steps: the smaller one of the ramp done / warmup
// and the curve without warmup.
double rate_factor_at(const ScheduleConfig& config, double progress, int64_t done);

}  // namespace tandem
