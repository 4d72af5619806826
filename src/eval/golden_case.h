// Golden cases: numbers that the papers' own code produced, in folders of config.json and safetensors files.
#pragma once

#include <filesystem>
#include <string>

#include "arch/model.h"
#include "base/json.h"
#include "formats/safetensors.h"

namespace tandem {

enum class GoldenKind {
  forward,
  generation,
  training,
  collators,  // of no model: eval/golden_collators.h
};

struct GoldenTolerance {
  double logits_abs = 0;
  double loss_abs = 0;
  double grad_rel = 0;    // norm of the difference over norm of the gradient
  double grad_floor = 0;  // smaller gradients count as this large
  double step_loss_abs = 0;
  double grad_norm_rel = 0;
  double final_rel = 0;
};

struct GoldenCase {
  std::string name;
  std::filesystem::path folder;
  GoldenKind kind = GoldenKind::forward;
  Json json;  // the whole config.json
  ModelConfig config;
  GoldenTolerance tolerance;
  int32_t padding_id = -1;  // tokens that are no targets; -1: the case has none
};

// InputError when the folder is no golden case, or one of an architecture, objective or convention that this version
// does not know: nothing is skipped silently.
GoldenCase read_golden_case(const std::filesystem::path& folder);

// Fills the model with the tensors of a file that uses the authors' parameter names. InputError for a missing,
// superfluous or ill-shaped tensor.
void load_golden_weights(const std::filesystem::path& file, Model& model);

// Names of one of our parameters in the case's files: of several tensors where its rows are theirs.
std::vector<std::string> golden_parameter_names(const Parameter& parameter, const ModelConfig& config);
// Name of an activation that a model shows its observer.
std::string golden_activation_name(const std::string& name, const ModelConfig& config);

// The elements of an int64 tensor that fit into int32: token ids, labels, boundaries. InputError for another type or a
// larger number.
std::vector<int32_t> golden_integers(const Tensor& t, const std::string& name, const std::string& where);
// The rows of a tensor [rows, tokens] of such elements, none of them empty.
std::vector<std::vector<int32_t>> golden_rows(const SafetensorsFile& file, const std::string& name,
                                              const std::string& where);

// The batch of input_ids and targets [rows, length] (int64) of a case; boundaries from `blocks`.
Batch golden_batch(const Tensor& input_ids, const Tensor& targets, std::span<const int64_t> boundaries,
                   const std::string& where);

// The batch of a case whose encoder and decoder have inputs of their own. The encoder reads the first blocks[b] tokens
// of row b, the real ones; the decoder writes whole rows, padding included, since the cases have its activations too.
Batch golden_sides(const SafetensorsFile& io, const std::string& where);

}  // namespace tandem
