// What training asks of evaluation: the folder train/ may not include eval/, so the program hands it over.
#pragma once

#include "train/trainer.h"

namespace tandem::app {

// For TrainHooks::validate: evaluate() of eval/perplexity.h.
HeldOutScore validate(Model& model, Tape& tape, const HeldOut& rows);

}  // namespace tandem::app
