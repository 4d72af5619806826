// study: the verb that holds comparisons of many small runs.
#include "study.h"

namespace tandem::app {

void add_study_options(CLI::App& verb, StudyOptions& options, const std::string& output) {
  options.output = output;
  verb.add_option("config", options.config, "a .toml file, or the name of one under configs/")->capture_default_str();
  verb.add_option("overrides", options.overrides, "key=value, as for train");
  verb.add_option("--output", options.output, "Folder of tables and pictures")->capture_default_str();
  verb.add_flag("--json", options.json, "Print one JSON object");
}

void add_study_verb(CLI::App& app, Action& action) {
  CLI::App* study = app.add_subcommand("study", "Comparisons of many small runs, with tables and pictures");
  study->require_subcommand(1);
  add_study_folding(*study, action);
  add_study_mup(*study, action);
  add_study_schedule(*study, action);
  add_study_sweep(*study, action);
}

}  // namespace tandem::app
