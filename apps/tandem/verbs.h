// The verbs of the program. Each registers its options on the app and runs when its command was given.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace tandem::app {

// Set by the verb that was chosen; its return value is the exit code.
using Action = std::function<int()>;

// Adds a verb: a subcommand with its options, whose callback sets `action`. One line per verb, in alphabetical order;
// main.cpp lists them.
void add_bench_verb(CLI::App& app, Action& action);
void add_convert_verb(CLI::App& app, Action& action);
void add_data_verb(CLI::App& app, Action& action);
void add_eval_verb(CLI::App& app, Action& action);
void add_generate_verb(CLI::App& app, Action& action);
void add_inspect_verb(CLI::App& app, Action& action);
void add_plot_verb(CLI::App& app, Action& action);
void add_quantize_verb(CLI::App& app, Action& action);
void add_quickstart_verb(CLI::App& app, Action& action);
void add_study_verb(CLI::App& app, Action& action);
void add_tokenizer_verb(CLI::App& app, Action& action);
void add_train_verb(CLI::App& app, Action& action);
void add_verify_verb(CLI::App& app, Action& action);

}  // namespace tandem::app
