// Which kernels compute the matrix products of a model's training step.
#pragma once

#include "arch/model.h"
#include "base/json.h"
#include "kernels/context.h"

namespace tandem::app {

// For every size of weight [outputs, inputs] an object: `outputs`, `inputs`, `weights` of that size, `rows` that are
// multiplied at a time, and the kernels of `forward`, `input_gradient` and `weight_gradient`.
OrderedJson product_choices(Context& ctx, const Model& model, const ModelConfig& config, const Precision& precision);

}  // namespace tandem::app
