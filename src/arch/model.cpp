#include "arch/model.h"

namespace tandem {

int64_t Model::non_embedding_parameters() const {
  int64_t n = 0;
  for (const Parameter& p : parameters_.all()) {
    if (p.group() != MupGroup::embedding) n += p.shape().elements();
  }
  return n;
}

ops::LossSum Model::loss(Tape& tape, const Batch& batch, bool count_correct, const Tensor& token_loss) {
  Var x = hidden(tape, batch);
  ops::HeadOptions options;
  options.multiplier = config_.logit_multiplier();
  options.count_correct = count_correct;
  options.token_loss = token_loss;
  return ops::head_loss(tape, x, output_table().weight(), batch.labels, options);
}

Tensor Model::all_logits(Tape& tape, const Batch& batch) {
  Var x = hidden(tape, batch);
  Tensor logits = tape.arena().tensor(tape.precision().residual, {batch.tokens(), config_.vocab_size});
  ops::head_logits(tape, logits, x, output_table().weight(), config_.logit_multiplier());
  return logits;
}

void Model::logits_of(Tape& tape, Var x, std::span<float> logits) const {
  if (tape.precision().residual == DType::f32) {
    ops::head_logits(tape, Tensor(logits.data(), DType::f32, {1, config_.vocab_size}), x, output_table().weight(),
                     config_.logit_multiplier());
    return;
  }
  Tensor wide = tape.arena().tensor(tape.precision().residual, {1, config_.vocab_size});
  ops::head_logits(tape, wide, x, output_table().weight(), config_.logit_multiplier());
  copy_convert(Tensor(logits.data(), DType::f32, {1, config_.vocab_size}), wide);
}

}  // namespace tandem
