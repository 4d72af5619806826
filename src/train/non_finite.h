// Where numbers stopped being finite.
#pragma once

#include <span>
#include <string>

#include "arch/model.h"

namespace tandem {

// Runs the micro-batches of a step (prepared, as they were trained on) once more and names the first tensor with an
// infinite or undefined value, in the order in which a step computes them: the parameters themselves, then for each
// micro-batch the activations forward, the loss, the gradients of parameters backward.
//   "decoder_layers.2.attention.q.weight gradient", "hidden.enc.1 activation", "loss", "embedding.weight"
// Activations have the names of Model::observe. Empty when everything is finite. The tape must record; the gradients
// hold those of the step (up to the tensor that is named) afterwards, and the model's observer is gone.
std::string first_non_finite(Model& model, Tape& tape, std::span<const Batch> batches);

}  // namespace tandem
