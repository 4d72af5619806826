// The benchmarks under `tandem bench`.
#pragma once

#include "verbs.h"

namespace tandem::app {

void add_bench_compare(CLI::App& bench, Action& action);
void add_bench_generation(CLI::App& bench, Action& action);
void add_bench_ops(CLI::App& bench, Action& action);
void add_bench_train(CLI::App& bench, Action& action);

}  // namespace tandem::app
