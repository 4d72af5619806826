#include "eval_tasks.h"

#include <algorithm>

#include "base/cancelled.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/progress_bar.h"
#include "data/source.h"
#include "data/synthetic.h"
#include "eval/choice.h"
#include "eval/memory.h"
#include "eval/needle.h"
#include "eval_report.h"
#include "interrupt.h"

namespace tandem::app {
namespace {

// Progress of one task on standard error, and Ctrl-C.
class TaskProgress {
 public:
  TaskProgress(ProgressBar& bar, std::string name) : bar_(bar), name_(std::move(name)) {}

  void show(int64_t done, int64_t total) {
    if (interrupted()) throw Cancelled{};
    double share = total > 0 ? static_cast<double>(done) / static_cast<double>(total) : 1;
    double seconds = clock_.seconds();
    std::string left = share > 0 ? clock_text(seconds / share * (1 - share)) + " left" : "";
    bar_.show(share, fmt::format("{}  {}/{}  {:.0f}%  {}", name_, done, total, 100 * share, left));
  }

 private:
  ProgressBar& bar_;
  std::string name_;
  Stopwatch clock_;
};

// Lines about items, written when everything or as much as was wanted is done.
class Dump {
 public:
  explicit Dump(std::string path) : path_(std::move(path)) {}

  bool wanted() const { return !path_.empty(); }
  void add(const OrderedJson& line) {
    text_ += line.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
    text_ += '\n';
  }
  void write() const {
    if (wanted()) write_file_atomically(path_, text_);
  }

 private:
  std::string path_;
  std::string text_;
};

}  // namespace

TaskRun::TaskRun(const TaskOptions& options) : options_(options) {
  tasks_ = find_tasks(options.tasks, options.folder);
  for (const Task& task : tasks_) {
    sets_.push_back(task.kind == TaskKind::questions ? read_choice_set(task.file, options.items) : ChoiceSet());
  }
  for (const std::string& file : options.choice) choice_.push_back(read_choice_set(file, options.choice_items));
  for (const std::string& path : {options.dump, options.output}) {
    if (!path.empty() && tasks_.empty() && choice_.empty()) {
      throw InputError(
          {.what = "--dump and --output without tasks", .where = "tandem eval", .expected = "--tasks NAME"});
    }
  }
}

// Given text, or stories that the program makes.
std::string TaskRun::haystack(int64_t longest) const {
  std::string text;
  if (!options_.needle_text.empty()) {
    for_each_document(list_sources(options_.needle_text), [&](std::string_view document) {
      text += document;
      text += "\n\n";
    });
    return text;
  }
  StoryMaker maker(options_.seed, SyntheticSplit::kQuestions);
  for (uint64_t i = 0; static_cast<int64_t>(text.size()) < 200 * longest; ++i) text += maker.story(i).text + "\n\n";
  return text;
}

OrderedJson TaskRun::ask(const Subject& subject, const Task& task, const ChoiceSet* set, const EvalHooks& hooks) const {
  if (task.kind == TaskKind::questions) return to_json(evaluate_choice(subject, *set, hooks));
  if (task.kind == TaskKind::needle) {
    int64_t rows = subject.model.config().max_seq_len;
    NeedleOptions needle{.lengths = options_.needle_lengths,
                         .depths = options_.needle_depths,
                         .trials = options_.needle_trials,
                         .seed = options_.seed};
    if (needle.lengths.empty()) needle.lengths = needle_lengths(rows);
    int64_t longest = std::min(rows, *std::max_element(needle.lengths.begin(), needle.lengths.end()));
    return to_json(evaluate_needle(subject, haystack(longest), needle, hooks));
  }
  bool copy = task.kind == TaskKind::copy;
  return to_json(evaluate_memory(subject,
                                 {.kind = copy ? MemoryKind::copy : MemoryKind::pairs,
                                  .sizes = copy ? options_.copy_lengths : options_.mqar_pairs,
                                  .trials = options_.trials,
                                  .seed = options_.seed},
                                 hooks));
}

void TaskRun::run(Context& ctx, LoadedModel& loaded, OrderedJson& json) {
  InterruptScope interrupt("\nstopping\n");
  ProgressBar bar;
  Dump dump(options_.dump);
  Tape tape(ctx, loaded.model->parameters().precision(), Tape::Mode::no_grad);
  Subject subject{*loaded.model, tape, loaded.tokenizer, loaded.document_tokens.bos, loaded.document_tokens.eos};
  auto timed = [&](const Task& task, const ChoiceSet* set) {
    TaskProgress progress(bar, task.name);
    EvalHooks hooks{.progress = [&](int64_t done, int64_t total) { progress.show(done, total); }};
    if (dump.wanted()) hooks.item = [&](const OrderedJson& line) { dump.add(line); };
    Stopwatch clock;
    OrderedJson result = ask(subject, task, set, hooks);
    result["seconds"] = clock.seconds();
    return result;
  };
  try {
    for (size_t i = 0; i < tasks_.size(); ++i) {
      OrderedJson result{{"task", tasks_[i].name}};
      result.update(timed(tasks_[i], &sets_[i]));
      for (const OrderedJson& length : result.value("too_long", OrderedJson::array())) {
        bar.say(fmt::format("needle: {} tokens left out, the model's rows have {}", length.get<int64_t>(),
                            loaded.model->config().max_seq_len));
      }
      json["tasks"].push_back(std::move(result));
    }
    for (const ChoiceSet& set : choice_) json["choice"].push_back(timed({set.name, TaskKind::questions, {}}, &set));
  } catch (const Cancelled&) {
    bar.clear();
    dump.write();
    throw;
  }
  bar.clear();
  dump.write();
  if (!options_.output.empty()) write_task_page(options_.output, json);
}

void add_task_options(CLI::App& verb, TaskOptions& options) {
  auto count = CLI::Range(int64_t{1}, int64_t{1} << 24);
  verb.add_option("--tasks", options.tasks,
                  fmt::format("Tasks: {}, all, or .jsonl files of questions", fmt::join(task_names(), ", ")))
      ->expected(1, -1);
  verb.add_option("--tasks-dir", options.folder, "Folder of the benchmarks' files")->capture_default_str();
  verb.add_option("--task-items", options.items, "At most so many questions of each benchmark, spread evenly; 0: all")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 40))
      ->capture_default_str();
  verb.add_option("--dump", options.dump, "File that gets a line of JSON about each item: its scores, what was chosen");
  verb.add_option("--output", options.output, "Folder that gets a page about the tasks (tasks.html) and its pictures");
  verb.add_option("--task-seed", options.seed, "Seed of needles, copying and recall")->capture_default_str();
  verb.add_option("--needle-lengths", options.needle_lengths,
                  "Tokens of question and haystack together; default: the model's rows, a half, a quarter, an eighth")
      ->expected(1, -1)
      ->check(count);
  verb.add_option("--needle-depths", options.needle_depths, "Shares of the haystack before the needle")
      ->expected(1, -1)
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  verb.add_option("--needle-text", options.needle_text,
                  "Files and folders whose text is the haystack; default: stories made by the program")
      ->expected(1, -1);
  verb.add_option("--needle-trials", options.needle_trials, "Needles for each length and depth")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 19))
      ->capture_default_str();
  verb.add_option("--copy-lengths", options.copy_lengths, "Letters to copy")
      ->expected(1, -1)
      ->check(count)
      ->capture_default_str();
  verb.add_option("--mqar-pairs", options.mqar_pairs, "Pairs to recall from")
      ->expected(1, -1)
      ->check(CLI::Range(int64_t{1}, kMostPairs))
      ->capture_default_str();
  verb.add_option("--task-trials", options.trials, "Texts of copying and recall for each size")
      ->check(count)
      ->capture_default_str();
  verb.add_option("--choice", options.choice, "Sets of questions whose answers are scored by log-likelihood (.jsonl)")
      ->expected(1, -1);
  verb.add_option("--choice-items", options.choice_items, "At most so many questions of each set; 0: all")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 40))
      ->capture_default_str();
}

}  // namespace tandem::app
