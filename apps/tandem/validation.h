// What training asks of evaluation: the folder train/ may not include eval/, so the program hands it over.
#pragma once

#include <vector>

#include "eval/choice_formats.h"
#include "train/trainer.h"

namespace tandem::app {

// For TrainHooks::validate: evaluate() of eval/perplexity.h.
HeldOutScore validate(Model& model, Tape& tape, const HeldOut& rows);

// For TrainHooks::evaluate: the choice tasks and the sample of a run's [evaluation]. Adds to the line of a validation
//   "choice/NAME": accuracy of a file's questions, "choice_per_byte/NAME": the same by log-probability per byte,
//   "sample": what the model wrote behind the prompt.
class DownstreamEvaluation {
 public:
  // Reads the files. InputError when one cannot be used.
  explicit DownstreamEvaluation(const EvaluationConfig& config);

  bool empty() const { return sets_.empty() && config_.prompt.empty(); }
  OrderedJson operator()(Model& model, Tape& tape, const RunData& data) const;

 private:
  EvaluationConfig config_;
  std::vector<ChoiceSet> sets_;
};

}  // namespace tandem::app
