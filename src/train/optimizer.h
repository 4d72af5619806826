// AdamW over the parameters of a model, with the muP groups and the clipping of the double decoder's authors.
#pragma once

#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "base/fields.h"
#include "kernels/adamw_state.h"
#include "kernels/context.h"
#include "nn/parameters.h"
#include "train/sharding.h"

namespace tandem {

// What the moments are stored in (kernels/adamw_state.h).
enum class OptimizerState {
  float32,
  bfloat16,
  bits8,
};

std::string_view state_name(OptimizerState state);
DType state_dtype(OptimizerState state);

struct OptimizerConfig {
  double lr = 2e-3;  // base rate: of embeddings and vectors; matrices have it times base_dim / dim under muP
  double weight_decay = 0.1;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double clip = 1.0;  // largest global L2 norm of the gradient; 0: not clipped
  OptimizerState state = OptimizerState::float32;
};

void list_fields(FieldList& fields, OptimizerConfig& config);

// InputError for values outside their range.
void check(const OptimizerConfig& config, const std::string& where);

// The moments of some elements of a parameter: of its shape when these are all, else [elements]; nothing when there are
// none. With 8 bits, scales of blocks besides.
struct Moments {
  Moments(OptimizerState state, const Shape& shape, const ElementRange& elements);

  kernels::AdamWState tensors() const {
    return {first.tensor(), second.tensor(), first_scale.tensor(), second_scale.tensor()};
  }

  ElementRange range;
  Storage first;
  Storage second;
  Storage first_scale;
  Storage second_scale;
};

// Their bytes for so many elements of a parameter.
int64_t moment_bytes(OptimizerState state, int64_t elements);

class Optimizer {
 public:
  // `matrix_rate_factor`: ModelConfig::matrix_rate_factor(). The store must outlive the optimizer and have gradients.
  // `owned`: by parameter, what this optimizer keeps moments of and updates; empty: everything.
  Optimizer(Context& ctx, ParameterStore& parameters, const OptimizerConfig& config, double matrix_rate_factor,
            const std::vector<ElementRange>& owned = {});

  // Learning rate of a group when the schedule's factor is `factor`.
  double rate(MupGroup group, double factor) const;

  // Global L2 norm of `scale` times the gradients: squares are summed in double, parameter after parameter. Infinite or
  // NaN when a gradient is.
  double gradient_norm(double scale) const;

  // One update with the gradients times `scale`, times min(1, clip / (norm + 1e-6)); `norm` is gradient_norm(scale).
  // The rate is that of the schedule's factor, for each group. Elements that are not owned stay as they are.
  void update(double scale, double norm, double factor);

  // Moments and count of updates as at the beginning.
  void reset();

  // Updates so far: the count in Adam's bias corrections.
  int64_t updates() const { return updates_; }
  void set_updates(int64_t updates) { updates_ = updates; }
  // In the order of ParameterStore::all().
  const std::deque<Moments>& moments() const { return moments_; }
  ParameterStore& parameters() { return parameters_; }
  const ParameterStore& parameters() const { return parameters_; }
  const OptimizerConfig& config() const { return config_; }

 private:
  Context& ctx_;
  ParameterStore& parameters_;
  OptimizerConfig config_;
  double matrix_rate_factor_;
  std::deque<Moments> moments_;
  int64_t updates_ = 0;
};

}  // namespace tandem
