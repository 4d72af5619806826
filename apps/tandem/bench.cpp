// bench: the verb that holds the benchmarks.
#include "bench.h"

#include <CLI/CLI.hpp>

namespace tandem::app {

void add_bench_verb(CLI::App& app, Action& action) {
  CLI::App* bench = app.add_subcommand("bench", "speed and memory: kernels, training steps, generation");
  bench->require_subcommand(1);
  add_bench_compare(*bench, action);
  add_bench_generation(*bench, action);
  add_bench_ops(*bench, action);
  add_bench_train(*bench, action);
}

std::string options_given(const CLI::App& verb) {
  std::string text;
  for (const CLI::Option* option : verb.get_options()) {
    std::string name = option->get_name();
    if (option->count() == 0 || name == "--output" || name == "--json") continue;
    if (name.starts_with("-")) text += " " + name;
    if (option->get_items_expected_max() == 0) continue;  // a flag
    for (const std::string& value : option->results()) text += " " + value;
  }
  return text;
}

}  // namespace tandem::app
