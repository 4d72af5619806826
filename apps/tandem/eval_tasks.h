// eval --tasks and --choice: benchmarks, needle in a haystack, copying, recall.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "base/json_fwd.h"
#include "eval/choice_formats.h"
#include "eval/subject.h"
#include "eval/tasks.h"
#include "model_options.h"

namespace tandem::app {

struct TaskOptions {
  std::vector<std::string> tasks;
  std::string folder = "../shared/data/eval";
  int64_t items = 0;  // of each benchmark; 0: all
  std::string dump;
  std::string output;
  uint64_t seed = 1;
  std::vector<int64_t> needle_lengths;
  std::vector<double> needle_depths{0, 0.25, 0.5, 0.75, 1};
  std::vector<std::string> needle_text;
  int64_t needle_trials = 8;
  std::vector<int64_t> copy_lengths{5, 10, 20, 40, 80};
  std::vector<int64_t> mqar_pairs{2, 4, 8, 16, 32};
  int64_t trials = 100;  // of copying and recall, for each size
  // --choice
  std::vector<std::string> choice;
  int64_t choice_items = 0;
};

void add_task_options(CLI::App& verb, TaskOptions& options);

// The tasks of one call. Names and files are looked at before a model is loaded: InputError when one cannot be used.
class TaskRun {
 public:
  explicit TaskRun(const TaskOptions& options);

  bool empty() const { return tasks_.empty() && choice_.empty(); }
  // Adds "tasks" and "choice" to the object, shows progress on standard error, and leaves the files of --dump and
  // --output. Throws Cancelled when Ctrl-C ended it; the dump then holds what was asked so far.
  void run(Context& ctx, LoadedModel& loaded, OrderedJson& json);

 private:
  OrderedJson ask(const Subject& subject, const Task& task, const ChoiceSet* set, const EvalHooks& hooks) const;
  std::string haystack(int64_t longest) const;

  TaskOptions options_;
  std::vector<Task> tasks_;
  std::vector<ChoiceSet> sets_;    // one per task; empty for those that are made up
  std::vector<ChoiceSet> choice_;  // of --choice
};

}  // namespace tandem::app
