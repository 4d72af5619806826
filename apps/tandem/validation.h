// The score of a model on held-out rows, as training wants it.
#pragma once

#include "train/trainer.h"

namespace tandem::app {

// The double decoder's boundaries come from a fixed stream, one per pass of a few rows: every validation of a run, and
// of any other run with the same rows, reads the same blocks.
HeldOutScore validate(Model& model, Tape& tape, const HeldOut& rows);

}  // namespace tandem::app
