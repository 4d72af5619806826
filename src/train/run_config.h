// The config of a training run: a TOML file, key=value overrides, and what is kept in the run folder.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "arch/config.h"
#include "data/config.h"
#include "kernels/isa.h"
#include "ops/tape.h"
#include "train/guard.h"
#include "train/optimizer.h"
#include "train/schedule.h"

namespace tandem {

enum class PrecisionChoice {
  automatic,  // bf16 where the processor has products for it, else float32
  float32,
  bfloat16,
};

// Who computes a matrix product, the program's own kernels or oneDNN.
enum class ProductsBy {
  rule,         // that was measured on other machines: own_kernels()
  measurement,  // on this one, before the first step; kept in the run folder
};

// Which parameters model/ holds at the end.
enum class ExportedModel {
  last,
  best,  // those of the best validation
};

// What is learnt from the rows (text/batch.h: Objective).
enum class ObjectiveChoice {
  automatic,  // conversations: their responses; text: what the architecture learns from it by default
  text,
  prefix_lm,
  span_corruption,
  conversation,
};

// What is asked of the model at every validation beside the held-out loss.
struct EvaluationConfig {
  std::vector<std::string> choice;  // files of questions, scored by log-likelihood (docs/evaluation.md)
  int64_t choice_items = 100;       // questions of each file; 0: all
  std::string prompt;               // a text that the model goes on with; empty: no sample
  int64_t sample_tokens = 64;       // of what it writes
};

void list_fields(FieldList& fields, EvaluationConfig& config);

struct RunConfig {
  RunConfig() { model.vocab_size = 0; }

  std::string output;  // the run folder
  std::string init;    // a model or run folder whose parameters, sizes and tokenizer the run begins with (train/init.h)
  // Length: exactly one of the first three, or max_seconds alone, or max_seconds and one of the three as a cap.
  int64_t steps = 0;
  int64_t tokens = 0;      // read in training; rounded up to whole steps
  double epochs = 0;       // passes over the training text; rounded up to whole steps
  double max_seconds = 0;  // 0: no limit. The learning rate follows the clock: not reproducible
  int64_t seed = 1;        // initial parameters, block boundaries
  PrecisionChoice precision = PrecisionChoice::automatic;
  ObjectiveChoice objective = ObjectiveChoice::automatic;
  ProductsBy products = ProductsBy::rule;
  int64_t threads = 0;      // 0: all cores
  int64_t micro_batch = 4;  // rows in one forward and backward pass
  int64_t grad_accum = 1;   // passes per step
  Recompute recompute = Recompute::none;
  int64_t eval_every = 0;          // steps between validations; 0: only at the end
  int64_t eval_rows = 64;          // held-out rows of a validation; 0: all
  int64_t checkpoint_every = 100;  // steps; 0: only at the end
  int64_t keep_checkpoints = 2;
  bool keep_best = true;  // a validation that beats all earlier ones leaves a checkpoint that stays
  ExportedModel exported = ExportedModel::last;
  int64_t log_every = 10;
  bool tensorboard = true;   // event files beside log.jsonl
  bool check_memory = true;  // refuse to begin what can't fit into this machine's memory
  bool zero = false;         // ranks share out the optimizer's moments (ZeRO-1)
  ModelConfig model;         // vocab_size 0: that of the tokenizer
  DataConfig data;
  OptimizerConfig optimizer;
  ScheduleConfig schedule;
  GuardConfig guard;
  EvaluationConfig evaluation;

  int64_t rows_per_step() const { return micro_batch * grad_accum; }
  int64_t tokens_per_step() const { return rows_per_step() * model.max_seq_len; }
};

void list_fields(FieldList& fields, RunConfig& config);

// InputError for values that no run can use. The length of the run is checked by total_steps().
void check(const RunConfig& config, const std::string& where);

// What a config leaves open, filled in after the file and the overrides: `given` knows which fields they have set.
using CompleteConfig = std::function<void(RunConfig& config, const FieldList& given, const std::string& where)>;

// Reads the file that `name` gives (find_config), then the overrides ("key=value"), completes the result and checks it.
// load_run_config() of train/init.h is this with the fields that come from another run's model.
RunConfig read_run_config(const std::string& name, std::span<const std::string> overrides,
                          const CompleteConfig& complete = {});

// `name` if it is a file; else configs/NAME.toml in the current folder, beside the program's folder (a build inside
// the source tree) and in ../share/tandem (an installed program). InputError when there is none.
std::filesystem::path find_config(const std::string& name);

// The config as it is written to a run folder.
std::string to_toml(const RunConfig& config);

// The first key in which two runs differ so that one can't go on with the other's checkpoints; empty when there is
// none. Length, checkpointing, logging, validation, the guard, threads and folders may differ.
std::string first_difference(const RunConfig& a, const RunConfig& b);

// Steps of the run; 0: only the clock ends it. InputError when the config names no length or several.
int64_t total_steps(const RunConfig& config, int64_t training_tokens);

// What the model of a run learns from its rows.
Objective objective_of(const RunConfig& config);

// config.model with its vocabulary set to that of a tokenizer of `tokenizer_size` tokens. InputError when the config
// asks for fewer.
ModelConfig resolve_model(const RunConfig& config, int64_t tokenizer_size);

// The same without data, for tools that only need sizes: an open vocabulary is taken to be data.vocab_size.
ModelConfig resolve_model(const RunConfig& config);

// bf16 on an instruction set without bf16 products computes in float32.
Precision choose_precision(PrecisionChoice choice, Isa isa);

}  // namespace tandem
