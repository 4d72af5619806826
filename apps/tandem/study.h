// The parts of the verb study.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "data/heldout.h"
#include "formats/chart.h"
#include "train/run_config.h"
#include "verbs.h"

namespace tandem::app {

void add_study_folding(CLI::App& study, Action& action);
void add_study_mup(CLI::App& study, Action& action);
void add_study_schedule(CLI::App& study, Action& action);
void add_study_sweep(CLI::App& study, Action& action);

// What every study is asked for.
struct StudyOptions {
  std::string config = "tiny";
  std::vector<std::string> overrides;
  std::string output;
  bool json = false;
};
void add_study_options(CLI::App& verb, StudyOptions& options, const std::string& output);

}  // namespace tandem::app
