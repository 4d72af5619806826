// How the learning rate follows the progress of a run.
#pragma once

#include <cstdint>

#include "base/fields.h"

namespace tandem {

enum class ScheduleKind {
  linear,    // warm up, then fall in a straight line to `floor` times the base rate
  constant,  // warm up, then stay
};

struct ScheduleConfig {
  ScheduleKind kind = ScheduleKind::linear;
  double warmup_fraction = 0.05;  // of the steps; used when warmup_steps is 0
  int64_t warmup_steps = 0;
  double floor = 0.1;
};

void list_fields(FieldList& fields, ScheduleConfig& config);

// InputError for values outside their range.
void check(const ScheduleConfig& config, const std::string& where);

// max(1, int(warmup_fraction * total_steps)) or the number given.
int64_t warmup_steps(const ScheduleConfig& config, int64_t total_steps);

// Factor on the base rate for the step that follows `done` finished ones (the authors' LambdaLR): done / warmup while
// done < warmup, so the first step has rate 0; then max(floor, 1 - (1 - floor) * (done - warmup) / (total - warmup)).
double rate_factor(const ScheduleConfig& config, int64_t done, int64_t total_steps);

// The same curve over the share of a run that has passed, 0..1, for runs that end by the clock: the warmup is
// warmup_fraction of the time.
double rate_factor_at(const ScheduleConfig& config, double progress);

}  // namespace tandem
