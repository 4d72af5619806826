#include "train/step.h"

#include <cmath>

namespace tandem {

ops::LossSum TrainingStep::accumulate(const Batch& batch) {
  if (!open_) {
    model_.parameters().zero_gradients();
    sum_ = {};
    open_ = true;
  }
  tape_.reset();
  ops::LossSum loss = model_.loss(tape_, batch);
  tape_.backward();
  sum_.sum += loss.sum;
  sum_.tokens += loss.tokens;
  return loss;
}

StepResult TrainingStep::finish(double rate_factor) {
  StepResult result;
  result.tokens = open_ ? sum_.tokens : 0;
  open_ = false;
  if (result.tokens == 0) return result;
  double scale = 1.0 / static_cast<double>(result.tokens);
  result.loss = sum_.sum * scale;
  result.grad_norm = optimizer_.gradient_norm(scale);
  if (!std::isfinite(result.loss) || !std::isfinite(result.grad_norm)) return result;
  optimizer_.update(scale, result.grad_norm, rate_factor);
  result.applied = true;
  return result;
}

}  // namespace tandem
