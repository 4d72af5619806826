#include "train/guard.h"

#include <algorithm>

#include "base/error.h"
#include "base/json.h"

namespace tandem {
namespace {

double median(std::vector<double> values) {
  auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

void push(std::vector<double>& values, double value, int64_t most) {
  values.push_back(value);
  while (static_cast<int64_t>(values.size()) > most) values.erase(values.begin());
}

bool has_medians(const GuardConfig& config, const GuardState& state) {
  return static_cast<int64_t>(state.losses.size()) >= std::min(kStepsBeforeMedians, config.window);
}

std::vector<double> numbers_from(const Json& json, const char* key, const std::string& where) {
  std::vector<double> out;
  for (const Json& value : json_at(json, key, where)) {
    if (!value.is_number()) {
      throw InputError({.what = fmt::format("bad '{}'", key), .where = where, .expected = "a list of numbers"});
    }
    out.push_back(value.get<double>());
  }
  return out;
}

}  // namespace

void list_fields(FieldList& fields, GuardConfig& config) {
  fields.add("window", config.window, "good steps whose median loss and gradient norm are the yardstick");
  fields.add("skipped_steps", config.skipped_steps, "steps in a row that are not finite: a divergence; 0: never");
  fields.add("loss_margin", config.loss_margin, "nats above the median loss that make a loss high");
  fields.add("high_steps", config.high_steps, "high losses in a row: a divergence; 0: never");
  fields.add("outlier_factor", config.outlier_factor,
             "gradient norms above this many times their median are logged; 0: none");
  fields.add("max_rollbacks", config.max_rollbacks, "times that a diverged run goes back to its last good checkpoint");
  fields.add("rollback_lr", config.rollback_lr, "factor on all later learning rates after each time");
}

void check(const GuardConfig& config, const std::string& where) {
  auto require = [&](bool holds, const char* key, auto got, const char* expected) {
    if (holds) return;
    throw InputError({.what = fmt::format("bad value of 'guard.{}'", key),
                      .where = where,
                      .got = fmt::format("{}", got),
                      .expected = expected});
  };
  require(config.window >= 1 && config.window <= 4096, "window", config.window, "1..4096");
  require(config.skipped_steps >= 0, "skipped_steps", config.skipped_steps, "0 or more");
  require(config.loss_margin > 0, "loss_margin", config.loss_margin, "more than 0");
  require(config.high_steps >= 0, "high_steps", config.high_steps, "0 or more");
  require(config.outlier_factor == 0 || config.outlier_factor > 1, "outlier_factor", config.outlier_factor,
          "more than 1, or 0");
  require(config.max_rollbacks >= 0, "max_rollbacks", config.max_rollbacks, "0 or more");
  require(config.rollback_lr > 0 && config.rollback_lr <= 1, "rollback_lr", config.rollback_lr,
          "more than 0 and at most 1");
}

OrderedJson to_json(const GuardState& state) {
  return {{"losses", state.losses},
          {"norms", state.norms},
          {"skipped_in_row", state.skipped_in_row},
          {"high_in_row", state.high_in_row},
          {"troubled_in_row", state.troubled_in_row},
          {"rollbacks", state.rollbacks},
          {"rate_scale", state.rate_scale}};
}

GuardState guard_state_from_json(const Json& json, const std::string& where) {
  GuardState state;
  state.losses = numbers_from(json, "losses", where);
  state.norms = numbers_from(json, "norms", where);
  state.skipped_in_row = json_int(json, "skipped_in_row", where);
  state.high_in_row = json_int(json, "high_in_row", where);
  state.troubled_in_row = json_int(json, "troubled_in_row", where);
  state.rollbacks = json_int(json, "rollbacks", where);
  state.rate_scale = json_number(json, "rate_scale", where);
  return state;
}

Judgement judge(const GuardConfig& config, GuardState& state, const StepResult& step) {
  Judgement judgement;
  if (step.tokens == 0) return judgement;
  if (!step.applied) {
    ++state.skipped_in_row;
    ++state.troubled_in_row;
    if (config.skipped_steps > 0 && state.skipped_in_row >= config.skipped_steps) {
      judgement.divergence = fmt::format("{} steps in a row without a finite loss and gradient", state.skipped_in_row);
    }
    return judgement;
  }
  state.skipped_in_row = 0;
  bool judged = has_medians(config, state);
  double usual_loss = judged ? median(state.losses) : 0, usual_norm = judged ? median(state.norms) : 0;
  if (judged && config.outlier_factor > 0 && step.grad_norm > config.outlier_factor * usual_norm) {
    judgement.outlier_over = usual_norm;
  }
  if (judged && config.high_steps > 0 && step.loss > usual_loss + config.loss_margin) {
    // High losses stay out of the medians: a divergence must not become the new usual.
    ++state.high_in_row;
    ++state.troubled_in_row;
    if (state.high_in_row >= config.high_steps) {
      judgement.divergence = fmt::format("{} losses in a row more than {} nats above their median of {:.3f}",
                                         state.high_in_row, config.loss_margin, usual_loss);
    }
    return judgement;
  }
  state.high_in_row = state.troubled_in_row = 0;
  push(state.losses, step.loss, config.window);
  push(state.norms, step.grad_norm, config.window);
  return judgement;
}

GuardState after_rollback(const GuardConfig& config, const GuardState& good, const GuardState& diverged) {
  GuardState state = good;
  state.skipped_in_row = state.high_in_row = state.troubled_in_row = 0;
  state.rollbacks = diverged.rollbacks + 1;
  state.rate_scale = diverged.rate_scale * config.rollback_lr;
  return state;
}

}  // namespace tandem
