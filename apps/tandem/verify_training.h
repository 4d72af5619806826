// The golden training trajectory: the authors' steps again, loss by loss.
#pragma once

#include "eval/parity.h"

namespace tandem::app {

// Runs the recorded micro-batches through our optimizer and compares each step's loss, gradient norm and learning rates
// and the final weights.
ParityReport check_training(Context& ctx, const GoldenCase& golden, const Precision& precision, bool judge);

}  // namespace tandem::app
