#include "arch/model.h"

#include <algorithm>

#include "ops/select_rows.h"

namespace tandem {

int64_t Model::non_embedding_parameters() const {
  int64_t n = 0;
  for (const Parameter& p : parameters_.all()) {
    if (p.group() != MupGroup::embedding) n += p.shape().elements();
  }
  return n;
}

namespace {

// Rows that carry no label need no logits. Packed text has too few of them for the copy to pay.
constexpr double kSparse = 0.9;

bool sparse(std::span<const int32_t> labels) {
  auto labelled = std::count_if(labels.begin(), labels.end(), [](int32_t label) { return label != kIgnoreLabel; });
  return static_cast<double>(labelled) < kSparse * static_cast<double>(labels.size());
}

struct LabelledRows {
  std::span<int32_t> rows;
  std::span<int32_t> labels;
};

// In the tape's memory.
LabelledRows labelled_rows(Tape& tape, std::span<const int32_t> labels) {
  auto take = [&] { return tape.arena().tensor(DType::i32, {static_cast<int64_t>(labels.size())}).as<int32_t>(); };
  int32_t *rows = take(), *kept = take();
  size_t count = 0;
  for (size_t t = 0; t < labels.size(); ++t) {
    if (labels[t] == kIgnoreLabel) continue;
    rows[count] = static_cast<int32_t>(t);
    kept[count++] = labels[t];
  }
  return {{rows, count}, {kept, count}};
}

}  // namespace

ops::LossSum Model::loss(Tape& tape, const Batch& batch, bool count_correct, const Tensor& token_loss) {
  std::span<const int32_t> labels = batch.loss_labels();
  if (labels.empty()) return {};
  ops::HeadOptions options;
  options.multiplier = config_.logit_multiplier();
  options.count_correct = count_correct;
  options.token_loss = token_loss;
  if (token_loss.defined() || !sparse(labels)) {
    return ops::head_loss(tape, hidden(tape, batch), output_table().weight(), labels, options);
  }
  LabelledRows labelled = labelled_rows(tape, labels);
  if (labelled.rows.empty()) return {};
  Var x = ops::select_rows(tape, hidden(tape, batch), labelled.rows);
  return ops::head_loss(tape, x, output_table().weight(), labelled.labels, options);
}

Tensor Model::all_logits(Tape& tape, const Batch& batch) {
  Var x = hidden(tape, batch);
  Tensor logits = tape.arena().tensor(tape.precision().residual, {x->value.rows(), config_.vocab_size});
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
