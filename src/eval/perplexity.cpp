#include "eval/perplexity.h"

#include <cmath>
#include <numbers>

#include "base/error.h"

namespace tandem {
namespace {

constexpr uint64_t kBoundarySeed = 0x7A11;
constexpr int64_t kRowsPerPass = 4;

}  // namespace

double EvalResult::loss() const { return loss_sum / static_cast<double>(tokens); }

double EvalResult::perplexity() const { return std::exp(loss()); }

double EvalResult::bits_per_byte() const {
  return text_bytes > 0 ? loss_sum / std::numbers::ln2 / static_cast<double>(text_bytes) : 0;
}

double EvalResult::accuracy() const { return static_cast<double>(correct) / static_cast<double>(tokens); }

EvalResult evaluate(Model& model, Tape& tape, const HeldOut& rows) {
  if (tape.recording()) throw LogicError({.what = "evaluate: the tape records"});
  EvalResult result;
  for (int64_t first = 0; first < rows.rows(); first += kRowsPerPass) {
    Batch batch = rows.batch(first, kRowsPerPass);
    Rng rng(kBoundarySeed, static_cast<uint64_t>(first / kRowsPerPass));
    model.prepare(batch, rng);
    tape.reset();
    ops::LossSum sum = model.loss(tape, batch, /*count_correct=*/true);
    result.loss_sum += sum.sum;
    result.tokens += sum.tokens;
    result.correct += sum.correct;
  }
  tape.reset();
  result.text_bytes = rows.text_bytes();
  return result;
}

}  // namespace tandem
