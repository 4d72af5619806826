#include "train/progress.h"

namespace tandem {
namespace {

std::string with_thousands(double value) {
  std::string digits = fmt::format("{:.0f}", value);
  for (int at = static_cast<int>(digits.size()) - 3; at > 0; at -= 3) digits.insert(static_cast<size_t>(at), 1, ',');
  return digits;
}

}  // namespace

std::string progress_line(const TrainProgress& p) {
  std::string line =
      p.total_steps > 0 ? fmt::format("step {}/{}", p.step, p.total_steps) : fmt::format("step {}", p.step);
  line += fmt::format("  {:.0f}%  {} left  loss {:.3f}  {} tokens/s  lr {:.2e}  norm {:.2f}", 100 * p.fraction,
                      clock_text(p.seconds_left), p.loss, with_thousands(p.tokens_per_second), p.learning_rate,
                      p.grad_norm);
  if (p.skipped > 0) line += fmt::format("  skipped {}", p.skipped);
  if (p.rollbacks > 0) line += fmt::format("  went back {}", p.rollbacks);
  return line;
}

void ProgressDisplay::show(const TrainProgress& progress) {
  bool last = progress.total_steps > 0 && progress.step == progress.total_steps;
  bar_.show(progress.fraction, progress_line(progress), last);
}

}  // namespace tandem
