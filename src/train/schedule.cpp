#include "train/schedule.h"

#include <algorithm>

#include "base/error.h"

namespace tandem {

void list_fields(FieldList& fields, ScheduleConfig& config) {
  fields.add_enum<ScheduleKind>("kind", config.kind,
                                {{"linear", ScheduleKind::linear}, {"constant", ScheduleKind::constant}},
                                "after the warmup: linear decay to the floor, or constant");
  fields.add("warmup_fraction", config.warmup_fraction, "share of the steps in which the rate rises from 0");
  fields.add("warmup_steps", config.warmup_steps, "the same as a number of steps; 0: by warmup_fraction");
  fields.add("floor", config.floor, "last learning rate over the base rate");
}

void check(const ScheduleConfig& config, const std::string& where) {
  auto require = [&](bool holds, const char* key, const std::string& got, const char* expected) {
    if (holds) return;
    throw InputError(
        {.what = fmt::format("bad value of 'schedule.{}'", key), .where = where, .got = got, .expected = expected});
  };
  bool share = config.warmup_fraction >= 0 && config.warmup_fraction <= 1;
  require(share, "warmup_fraction", fmt::format("{}", config.warmup_fraction), "0..1");
  require(config.warmup_steps >= 0, "warmup_steps", fmt::format("{}", config.warmup_steps), "0 or more");
  require(config.floor >= 0 && config.floor <= 1, "floor", fmt::format("{}", config.floor), "0..1");
}

int64_t warmup_steps(const ScheduleConfig& config, int64_t total_steps) {
  if (config.warmup_steps > 0) return config.warmup_steps;
  return std::max<int64_t>(1, static_cast<int64_t>(config.warmup_fraction * static_cast<double>(total_steps)));
}

double rate_factor(const ScheduleConfig& config, int64_t done, int64_t total_steps) {
  int64_t warmup = warmup_steps(config, total_steps);
  if (done < warmup) return static_cast<double>(done) / static_cast<double>(warmup);
  if (config.kind == ScheduleKind::constant) return 1;
  double progress =
      static_cast<double>(done - warmup) / static_cast<double>(std::max<int64_t>(1, total_steps - warmup));
  return std::max(config.floor, 1 - (1 - config.floor) * progress);
}

double rate_factor_at(const ScheduleConfig& config, double progress) {
  double warmup = config.warmup_fraction;
  if (progress < warmup) return progress / warmup;
  if (config.kind == ScheduleKind::constant || warmup >= 1) return 1;
  return std::max(config.floor, 1 - (1 - config.floor) * (progress - warmup) / (1 - warmup));
}

}  // namespace tandem
