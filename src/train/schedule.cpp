#include "train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"

namespace tandem {
namespace {

double decayed(const ScheduleConfig& config, double q) {
  if (config.decay_shape == DecayShape::minus_sqrt) q = std::sqrt(std::clamp(q, 0.0, 1.0));
  return std::max(config.floor, 1 - (1 - config.floor) * q);
}

// `p`: share of what follows the warmup that has passed; `warmup`: the warmup's share of the run.
double after_warmup(const ScheduleConfig& config, double p, double warmup) {
  switch (config.kind) {
    case ScheduleKind::linear: return std::max(config.floor, 1 - (1 - config.floor) * p);
    case ScheduleKind::cosine:
      return config.floor + (1 - config.floor) * (1 + std::cos(std::numbers::pi * std::min(p, 1.0))) / 2;
    case ScheduleKind::wsd: {
      double decay = warmup < 1 ? std::min(1.0, config.decay_fraction / (1 - warmup)) : 1;
      double stay = 1 - decay;
      if (p <= stay) return 1;
      return decayed(config, (p - stay) / decay);
    }
    case ScheduleKind::constant: break;
  }
  return 1;
}

}  // namespace

void list_fields(FieldList& fields, ScheduleConfig& config) {
  fields.add_enum<ScheduleKind>("kind", config.kind,
                                {{"linear", ScheduleKind::linear},
                                 {"cosine", ScheduleKind::cosine},
                                 {"wsd", ScheduleKind::wsd},
                                 {"constant", ScheduleKind::constant}},
                                "after the warmup: fall to the floor in a line or a cosine, stay and fall, or stay");
  fields.add("warmup_fraction", config.warmup_fraction, "share of the steps in which the rate rises from 0");
  fields.add("warmup_steps", config.warmup_steps, "the same as a number of steps; 0: by warmup_fraction");
  fields.add("floor", config.floor, "last learning rate over the base rate");
  fields.add("decay_fraction", config.decay_fraction, "wsd: share of the run in which the rate falls at the end");
  fields.add_enum<DecayShape>("decay_shape", config.decay_shape,
                              {{"linear", DecayShape::linear}, {"1-sqrt", DecayShape::minus_sqrt}},
                              "wsd: how it falls");
}

void check(const ScheduleConfig& config, const std::string& where) {
  auto require = [&](bool holds, const char* key, const std::string& got, const char* expected) {
    if (holds) return;
    throw InputError(
        {.what = fmt::format("bad value of 'schedule.{}'", key), .where = where, .got = got, .expected = expected});
  };
  auto share = [&](double value, const char* key) {
    require(value >= 0 && value <= 1, key, fmt::format("{}", value), "0..1");
  };
  share(config.warmup_fraction, "warmup_fraction");
  require(config.warmup_steps >= 0, "warmup_steps", fmt::format("{}", config.warmup_steps), "0 or more");
  share(config.floor, "floor");
  require(config.decay_fraction > 0 && config.decay_fraction <= 1, "decay_fraction",
          fmt::format("{}", config.decay_fraction), "more than 0 and at most 1");
}

int64_t warmup_steps(const ScheduleConfig& config, int64_t total_steps) {
  if (config.warmup_steps > 0) return config.warmup_steps;
  return std::max<int64_t>(1, static_cast<int64_t>(config.warmup_fraction * static_cast<double>(total_steps)));
}

double rate_factor(const ScheduleConfig& config, int64_t done, int64_t total_steps) {
  int64_t warmup = warmup_steps(config, total_steps);
  if (done < warmup) return static_cast<double>(done) / static_cast<double>(warmup);
  double p = static_cast<double>(done - warmup) / static_cast<double>(std::max<int64_t>(1, total_steps - warmup));
  return after_warmup(config, p, static_cast<double>(warmup) / static_cast<double>(std::max<int64_t>(1, total_steps)));
}

double rate_factor_at(const ScheduleConfig& config, double progress, int64_t done) {
  if (config.warmup_steps > 0) {
    double ramp = static_cast<double>(done) / static_cast<double>(config.warmup_steps);
    return std::min(ramp, after_warmup(config, progress, 0));
  }
  double warmup = config.warmup_fraction;
  if (progress < warmup) return progress / warmup;
  if (warmup >= 1) return 1;
  return after_warmup(config, (progress - warmup) / (1 - warmup), warmup);
}

}  // namespace tandem
