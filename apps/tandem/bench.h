// The benchmarks under `tandem bench`.
#pragma once

#include <string>

#include "verbs.h"

namespace tandem::app {

void add_bench_compare(CLI::App& bench, Action& action);
void add_bench_generation(CLI::App& bench, Action& action);
void add_bench_ops(CLI::App& bench, Action& action);
void add_bench_train(CLI::App& bench, Action& action);

// Options of a verb as they were given, each behind a space, without those that say where the result goes.
std::string options_given(const CLI::App& verb);

}  // namespace tandem::app
