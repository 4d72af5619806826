#include "eval/tasks.h"

#include <algorithm>

#include "base/error.h"

namespace tandem {
namespace fs = std::filesystem;

namespace {

constexpr std::string_view kAll = "all";

TaskKind kind_of(std::string_view name) {
  if (name == "needle") return TaskKind::needle;
  if (name == "copy") return TaskKind::copy;
  if (name == "mqar") return TaskKind::pairs;
  return TaskKind::questions;
}

fs::path file_of(const std::string& name, const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    std::string stem = at->path().stem().string();
    if (at->path().extension() == ".jsonl" && (stem == name || stem.starts_with(name + "_")))
      found.push_back(at->path());
  }
  if (found.size() == 1) return found.front();
  std::sort(found.begin(), found.end());
  std::string got = "no such file";
  if (error) got = error.message();
  if (!found.empty()) got = fmt::format("{} and {}", found[0].filename().string(), found[1].filename().string());
  throw InputError({.what = fmt::format("questions of '{}'", name),
                    .where = folder.string(),
                    .got = got,
                    .expected = fmt::format("one file {0}.jsonl or {0}_*.jsonl", name),
                    .hint = "name the folder with --tasks-dir"});
}

}  // namespace

const std::vector<std::string_view>& task_names() {
  static const std::vector<std::string_view> names{"lambada",    "hellaswag",  "piqa",       "blimp", "copa",
                                                   "truthfulqa", "winogender", "numersense", "aqua",  "bbh",
                                                   "needle",     "copy",       "mqar"};
  return names;
}

std::vector<Task> find_tasks(const std::vector<std::string>& names, const fs::path& folder) {
  std::vector<Task> tasks;
  const std::vector<std::string_view>& known = task_names();
  for (const std::string& asked : names) {
    if (fs::path(asked).extension() == ".jsonl") {
      tasks.push_back({fs::path(asked).stem().string(), TaskKind::questions, asked});
      continue;
    }
    if (asked != kAll && std::find(known.begin(), known.end(), asked) == known.end()) {
      throw InputError({.what = "no such task",
                        .where = "--tasks",
                        .got = fmt::format("'{}'", asked),
                        .expected = fmt::format("{}, all, or a .jsonl file", fmt::join(known, ", "))});
    }
    for (std::string_view name : known) {
      if (asked != kAll && asked != name) continue;
      Task task{std::string(name), kind_of(name), {}};
      if (task.kind == TaskKind::questions) task.file = file_of(task.name, folder);
      tasks.push_back(std::move(task));
    }
  }
  return tasks;
}

}  // namespace tandem
