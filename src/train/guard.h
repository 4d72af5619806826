// Watches over a run: steps without finite numbers, losses that rise and stay high, gradients out of the ordinary.
//
// A step whose loss or gradient is not finite changes nothing. Several of them in a row, or several losses in a row far
// above the running median, are a divergence: the trainer then goes back to the last good checkpoint. All that the
// guard remembers is part of the checkpoint, so a resumed run judges as one that never stopped.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/fields.h"
#include "base/json_fwd.h"
#include "train/step.h"

namespace tandem {

struct GuardConfig {
  int64_t window = 64;         // good steps whose medians are the yardstick
  int64_t skipped_steps = 5;   // not finite in a row: a divergence; 0: never
  double loss_margin = 1.5;    // nats above the median loss: a high loss
  int64_t high_steps = 8;      // high in a row: a divergence; 0: never
  double outlier_factor = 10;  // times the median gradient norm: an outlier, which is logged; 0: never
  int64_t max_rollbacks = 3;   // then the run ends
  double rollback_lr = 0.5;    // factor on all later learning rates, once per rollback
};

void list_fields(FieldList& fields, GuardConfig& config);

// InputError for values outside their range.
void check(const GuardConfig& config, const std::string& where);

// Medians are taken once this many good steps (or a whole window, if that is shorter) have passed.
inline constexpr int64_t kStepsBeforeMedians = 16;

struct GuardState {
  std::vector<double> losses;   // of the last good steps, oldest first, at most `window`
  std::vector<double> norms;    // their gradients'
  int64_t skipped_in_row = 0;   // not finite
  int64_t high_in_row = 0;      // skipped ones between them do not end the row
  int64_t troubled_in_row = 0;  // of either kind
  int64_t rollbacks = 0;
  double rate_scale = 1;  // rollback_lr to the power of rollbacks

  // Nothing points to a divergence.
  bool calm() const { return troubled_in_row == 0; }
  bool operator==(const GuardState&) const = default;
};

OrderedJson to_json(const GuardState& state);
GuardState guard_state_from_json(const Json& json, const std::string& where);

struct Judgement {
  // Set when the gradient norm is an outlier: the median that it is far above.
  double outlier_over = 0;
  // Why the run has diverged; empty: it has not.
  std::string divergence;
};

// Takes the step into account. Steps without a labelled token say nothing.
Judgement judge(const GuardConfig& config, GuardState& state, const StepResult& step);

// What is left of the state behind a divergence, on top of `good`, the state of the checkpoint that the run goes back
// to: one rollback more than in `diverged`, a lower rate.
GuardState after_rollback(const GuardConfig& config, const GuardState& good, const GuardState& diverged);

}  // namespace tandem
