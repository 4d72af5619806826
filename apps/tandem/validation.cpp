#include "validation.h"

#include "eval/perplexity.h"

namespace tandem::app {

HeldOutScore validate(Model& model, Tape& tape, const HeldOut& rows) {
  EvalResult result = evaluate(model, tape, rows);
  return {.loss = result.loss(), .bits_per_byte = result.bits_per_byte(), .accuracy = result.accuracy()};
}

}  // namespace tandem::app
