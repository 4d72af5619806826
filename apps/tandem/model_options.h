// Options and steps that the verbs which run a model share.
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <string>

#include "arch/model.h"
#include "data/token_data.h"
#include "kernels/context.h"
#include "text/tokenizer.h"

namespace tandem::app {

struct ModelOptions {
  std::string model;
  int threads = 0;
  std::string precision = "auto";
  std::string quantize = "none";
  // Few tokens at a time will be computed: weights are laid out for that. Otherwise only when they are quantised, so
  // that scores are those of training to the last digit.
  bool generates = false;
  std::string boundaries;  // how blocks are chosen instead of as in training; empty: as in training
  // Rows may be so long instead of as long as the model's own: rotary tables go on, over distances that the model has
  // never seen. Only for studies of what lies beyond; 0: the model's own.
  int64_t max_seq_len = 0;
};

// MODEL, --threads and --precision; or only the last two.
void add_model_options(CLI::App& verb, ModelOptions& options);
void add_run_options(CLI::App& verb, ModelOptions& options);

// A model folder, ready to run without gradients.
struct LoadedModel {
  Tokenizer tokenizer;
  DocumentTokens document_tokens;
  std::unique_ptr<Model> model;
  std::vector<int32_t> ends;  // tokens behind which a text is over: the document's end, and what the folder adds to it
};

// What weights are packed into: --quantize, else the type of the activations.
kernels::WeightFormat weight_format(const std::string& quantize, const Precision& precision);

Precision chosen_precision(const std::string& name, Isa isa);

// InputError when the folder does not hold a model, its tokenizer has ids that the model lacks, or blocks are asked of
// a model that has none.
LoadedModel load(const ModelOptions& options, Context& ctx);

// Lays out the weights of a loaded model as `options.generates` does, if they are not yet.
void pack_weights(const ModelOptions& options, Context& ctx, Model& model);

}  // namespace tandem::app
