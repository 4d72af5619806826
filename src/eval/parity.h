// Parity with golden cases: our numbers beside those of the papers' own code.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "eval/golden_case.h"

namespace tandem {

// The worst error of one class of tensors.
struct ParityCheck {
  std::string tensor_class;  // "logits", "loss", "gradient", ...
  std::string measure;       // "absolute" or "relative"
  double worst = 0;
  std::string tensor;               // where it is
  std::optional<double> tolerance;  // none: reported, not judged
  bool ok = true;
  int64_t compared = 0;  // tensors, rows or statistics of this class
};

struct ParityReport {
  std::vector<ParityCheck> checks;
  bool ok() const;
};

// Collects the worst error of each class, in the order of first mention.
class ParityCollector {
 public:
  void add(const std::string& tensor_class, const std::string& measure, const std::string& tensor, double error,
           std::optional<double> tolerance);
  ParityReport report() const { return report_; }

 private:
  ParityReport report_;
};

// Largest absolute difference of two tensors of equal shape; infinite when a number is NaN on one side only.
double worst_difference(const Tensor& ours, const Tensor& theirs);

// Norm of (factor * ours - theirs) over the norm of theirs, which counts as `floor` at least.
double relative_difference(const Tensor& ours, const Tensor& theirs, double factor, double floor);

// Forward pass and gradients of a case in `precision`. Judged by the case's tolerance only when `judge`.
ParityReport check_forward(Context& ctx, const GoldenCase& c, const Precision& precision, bool judge);

// Greedy generation: encoder output, logits of every step, and the ids themselves.
ParityReport check_generation(Context& ctx, const GoldenCase& c, const Precision& precision, bool judge);

}  // namespace tandem
