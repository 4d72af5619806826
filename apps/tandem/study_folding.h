// The parts of the verb study folding: what the length of a double decoder's blocks does to its loss, and what folding
// costs.
#pragma once

#include <string>
#include <vector>

#include "base/json_fwd.h"
#include "eval/perplexity.h"
#include "formats/chart.h"
#include "model_options.h"

namespace tandem::app {

// "LABEL=PATH"; a path alone is its own label.
struct Labelled {
  std::string label;
  std::string path;
};
Labelled split_label(const std::string& argument);

// The scores of one model.
struct FoldingScores {
  EvalResult as_trained;             // blocks drawn as in training
  std::vector<EvalResult> by_block;  // one for each length of blocks; empty for a model without blocks
  std::vector<EvalResult> beyond;    // the same on long sequences; of a model without blocks the only one
};

// Models under one label: the same but for the seed.
struct FoldingGroup {
  std::string label;
  std::vector<std::string> models;
  bool has_blocks = false;
  int64_t trained_length = 0;
  std::vector<FoldingScores> scores;  // by model
};

struct FoldingStudy {
  std::vector<int64_t> intervals;         // tokens of a block
  int64_t beyond_length = 0;              // tokens of the long sequences; 0: none
  std::vector<int64_t> beyond_intervals;  // the same intervals, and the whole sequence as one block
  std::vector<FoldingGroup> groups;
};

OrderedJson losses_json(const FoldingStudy& study);
std::string losses_table(const FoldingStudy& study);
std::string positions_table(const FoldingStudy& study);
std::string beyond_table(const FoldingStudy& study);
LineChart losses_chart(const FoldingStudy& study);
LineChart beyond_chart(const FoldingStudy& study);

// The cost of folding, measured on generation: models from folders, or of a config's sizes with random weights.
struct FoldingCostOptions {
  std::vector<std::string> subjects;  // "LABEL=PATH" or a path
  ModelOptions run;
  int64_t context = 0;  // 0: as long as each subject's rows
  int64_t rounds = 5;
  std::vector<int64_t> intervals;  // empty: 1, 4, 16, ... the context; longer ones are left out
};
struct FoldingCostLine {
  int64_t interval = 0;  // 0: never folded
  EncoderState encoder = EncoderState::recompute;
  double ms_per_token = 0;  // the median over the rounds, and what of it is the fold's
  double fold_ms_per_token = 0;
  double flops_per_token = 0;
  double bytes_live = 0, bytes_with_encoder = 0;  // mean over the tokens of a block
  int64_t bytes_after_fold = 0;
};
struct FoldingCostSubject {
  Labelled name;
  std::string arch, precision, weights;
  int64_t parameters = 0, context = 0;
  std::vector<FoldingCostLine> lines;
};

std::vector<FoldingCostSubject> measure_folding_costs(Context& ctx, const FoldingCostOptions& options);
OrderedJson costs_json(const std::vector<FoldingCostSubject>& subjects);
std::string costs_table(const std::vector<FoldingCostSubject>& subjects);
LineChart costs_chart(const std::vector<FoldingCostSubject>& subjects);

}  // namespace tandem::app
