// bench: the verb that holds the benchmarks.
#include "bench.h"

namespace tandem::app {

void add_bench_verb(CLI::App& app, Action& action) {
  CLI::App* bench = app.add_subcommand("bench", "speed and memory: kernels, training steps, generation");
  bench->require_subcommand(1);
  add_bench_compare(*bench, action);
  add_bench_generation(*bench, action);
  add_bench_ops(*bench, action);
  add_bench_train(*bench, action);
}

}  // namespace tandem::app
