#include "train/step.h"

#include <cmath>

namespace tandem {

ops::LossSum TrainingStep::accumulate(const Batch& batch, bool last) {
  if (!open_) {
    model_.parameters().zero_gradients();
    sum_ = {};
    open_ = true;
  }
  tape_.reset();
  if (ranks_ && last) tape_.observe(ranks_);
  ops::LossSum loss = model_.loss(tape_, batch);
  tape_.backward();
  tape_.observe(nullptr);
  sum_.sum += loss.sum;
  sum_.tokens += loss.tokens;
  return loss;
}

StepResult TrainingStep::finish(double rate_factor) {
  StepResult result;
  if (!open_) return result;
  open_ = false;
  if (ranks_) {
    ranks_->finish_gradients();
    sum_ = ranks_->sum(sum_);
  }
  result.tokens = sum_.tokens;
  if (result.tokens == 0) return result;
  double scale = 1.0 / static_cast<double>(result.tokens);
  result.loss = sum_.sum * scale;
  result.grad_norm = ranks_ ? ranks_->gradient_norm(optimizer_, scale) : optimizer_.gradient_norm(scale);
  if (!std::isfinite(result.loss) || !std::isfinite(result.grad_norm)) return result;
  optimizer_.update(scale, result.grad_norm, rate_factor);
  if (ranks_) ranks_->finish_parameters();
  result.applied = true;
  return result;
}

}  // namespace tandem
