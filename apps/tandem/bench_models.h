// Models to be measured: from a folder, or with random weights by a config.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "arch/model.h"
#include "kernels/context.h"

namespace tandem::app {

struct BenchSubject {
  ModelConfig config;
  std::filesystem::path folder;  // of the weights; empty: random ones
};

// `name`: a model folder, or a run config with its overrides. Of a config the rows are made long enough for `context`
// tokens, whatever the rows of training are. InputError where a folder's rows are shorter, if `strict`.
BenchSubject read_bench_subject(const std::string& name, const std::vector<std::string>& overrides, int64_t context,
                                bool strict);

// Ready to generate: weights packed as `quantize` says.
std::unique_ptr<Model> make_bench_model(const BenchSubject& subject, const Precision& precision,
                                        const std::string& quantize, Context& ctx);

}  // namespace tandem::app
