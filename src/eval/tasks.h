// The tasks that a model can be asked by name.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace tandem {

enum class TaskKind {
  questions,  // of a file: eval/choice.h
  needle,     // eval/needle.h
  copy,       // eval/memory.h
  pairs,      // likewise
};

struct Task {
  std::string name;
  TaskKind kind = TaskKind::questions;
  std::filesystem::path file;  // of questions
};

// Benchmarks first, whose questions stand in files, then those that are made up.
const std::vector<std::string_view>& task_names();

// Names of tasks and paths of .jsonl files, in their order; "all" stands for all names. The file of a benchmark is
// NAME.jsonl or NAME_*.jsonl in the folder. InputError for a name that is not known and for a file that is not there.
std::vector<Task> find_tasks(const std::vector<std::string>& names, const std::filesystem::path& folder);

}  // namespace tandem
