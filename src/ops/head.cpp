#include "ops/head.h"

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "kernels/cross_entropy.h"
#include "kernels/elementwise.h"
#include "kernels/linear_cross_entropy.h"
#include "kernels/matmul.h"
#include "ops/linear.h"

namespace tandem::ops {
namespace {

// Logits of one chunk: 256 rows of a 32k vocabulary are 32 MiB.
constexpr int64_t kChunkElements = int64_t{8} << 20;

int64_t rows_per_chunk(int64_t tokens, int64_t vocab) {
  int64_t rows = std::clamp<int64_t>(kChunkElements / vocab, 16, 4096) / 16 * 16;
  int64_t chunks = (tokens + rows - 1) / rows;
  return (tokens + chunks - 1) / chunks;
}

void check_labels(std::span<const int32_t> labels, int64_t tokens, int64_t vocab) {
  if (static_cast<int64_t>(labels.size()) != tokens) {
    throw LogicError({.what = "head_loss: wrong number of labels",
                      .got = fmt::format("{}", labels.size()),
                      .expected = fmt::format("{}", tokens)});
  }
  for (size_t t = 0; t < labels.size(); ++t) {
    if (labels[t] == kernels::kIgnoredLabel || (labels[t] >= 0 && labels[t] < vocab)) continue;
    throw InputError({.what = "label outside the vocabulary",
                      .where = fmt::format("token {}", t),
                      .got = fmt::format("{}", labels[t]),
                      .expected = fmt::format("0..{} or {}", vocab - 1, kernels::kIgnoredLabel)});
  }
}

// Rows of a power of two in bytes would fall on the same few cache sets; the weight's gradient, which reads columns,
// would run at three quarters of its speed.
constexpr int64_t kRowPadding = 32;

// Working memory of head_loss, from the tape's pools; rows are kRowPadding longer than the vocabulary.
struct Scratch {
  Tensor logits;   // [rows, V]
  Tensor dlogits;  // [rows, V], defined when the gradient is wanted
  Tensor loss;     // [rows]
  std::span<int32_t> best;
};

LossSum count_losses(const Tensor& loss, std::span<const int32_t> labels) {
  LossSum sum;
  for (size_t t = 0; t < labels.size(); ++t) {
    if (labels[t] == kernels::kIgnoredLabel) continue;
    sum.sum += load_element(loss, static_cast<int64_t>(t), 0);
    ++sum.tokens;
  }
  return sum;
}

LossSum one_chunk(Tape& tape, const Scratch& scratch, const Tensor& x, const Tensor& dx, const Weight& weight,
                  std::span<const int32_t> labels, double multiplier) {
  Context& ctx = tape.context();
  int64_t rows = x.rows();
  Tensor logits = scratch.logits.slice_rows(0, rows).slice_columns(0, weight.value.shape[0]);
  Tensor dlogits = scratch.dlogits.defined()
                       ? scratch.dlogits.slice_rows(0, rows).slice_columns(0, weight.value.shape[0])
                       : Tensor();
  std::span<int32_t> best = scratch.best.empty() ? scratch.best : scratch.best.subspan(0, static_cast<size_t>(rows));
  multiply(tape, logits, x, weight);
  Tensor loss = scratch.loss.slice_rows(0, rows);
  kernels::cross_entropy(ctx, loss, dlogits, best, logits, labels, multiplier, 1.0);
  if (dlogits.defined()) {
    kernels::matmul_nn(ctx, dx, dlogits, weight.value);
    if (weight.grad.defined()) {
      kernels::matmul_tn(ctx, weight.grad, dlogits, x, kernels::Store::accumulate);
    }
  }
  LossSum sum = count_losses(loss, labels);
  for (size_t t = 0; t < best.size(); ++t) {
    if (labels[t] != kernels::kIgnoredLabel) sum.correct += best[t] == labels[t];
  }
  return sum;
}

// The fused op works on tiles of this many tokens, and prepares the weight once for all of them.
constexpr int64_t kLeastFusedTokens = 128, kLeastFusedVocabulary = 1024;

bool fuses(Tape& tape, const Tensor& x, const Weight& weight, const HeadOptions& options) {
  return tape.recording() && !options.count_correct && x.rows() >= kLeastFusedTokens &&
         weight.value.rows() >= kLeastFusedVocabulary &&
         kernels::has_linear_cross_entropy(tape.context(), x, weight.value, weight.grad);
}

// The loss and its gradients by one op, where the machine has it.
LossSum fused_loss(Tape& tape, Var x, const Weight& weight, std::span<const int32_t> labels,
                   const HeadOptions& options) {
  Tensor loss = tape.arena().tensor(tape.precision().residual, {x->value.rows()});
  kernels::linear_cross_entropy(tape.context(), {.x = x->value,
                                                 .weight = weight.value,
                                                 .labels = labels,
                                                 .multiplier = options.multiplier,
                                                 .loss = loss,
                                                 .dx = tape.gradient_slot(x).tensor,
                                                 .dweight = weight.grad});
  if (options.token_loss.defined()) copy_convert(options.token_loss, loss);
  return count_losses(loss, labels);
}

// The same in chunks of tokens, with their logits.
LossSum chunked_loss(Tape& tape, Var x, const Weight& weight, std::span<const int32_t> labels,
                     const HeadOptions& options) {
  int64_t tokens = x->value.rows(), vocab = weight.value.shape[0];
  bool gradient = tape.recording();
  int64_t chunk = rows_per_chunk(tokens, vocab);
  DType wide = tape.precision().residual, narrow = tape.precision().activation;

  Scratch scratch;
  scratch.logits = tape.take_scratch(wide, {chunk, vocab + kRowPadding});
  // In float32 the gradient overwrites the logits.
  if (gradient)
    scratch.dlogits = narrow == wide ? scratch.logits : tape.take_scratch(narrow, {chunk, vocab + kRowPadding});
  scratch.loss = tape.arena().tensor(wide, {chunk});
  if (options.count_correct) {
    scratch.best = {tape.arena().tensor(DType::i32, {chunk}).as<int32_t>(), static_cast<size_t>(chunk)};
  }
  Tensor dx = gradient ? tape.gradient_slot(x).tensor : Tensor();

  LossSum total;
  for (int64_t begin = 0; begin < tokens; begin += chunk) {
    int64_t end = std::min(begin + chunk, tokens);
    auto rows = static_cast<size_t>(end - begin);
    LossSum part =
        one_chunk(tape, scratch, x->value.slice_rows(begin, end), gradient ? dx.slice_rows(begin, end) : Tensor(),
                  weight, labels.subspan(static_cast<size_t>(begin), rows), options.multiplier);
    total.sum += part.sum;
    total.tokens += part.tokens;
    total.correct += part.correct;
    for (size_t t = 0; t < rows && !options.token_correct.empty() && options.count_correct; ++t) {
      size_t at = static_cast<size_t>(begin) + t;
      options.token_correct[at] = labels[at] == scratch.best[t];
    }
    if (options.token_loss.defined()) {
      copy_convert(options.token_loss.slice_rows(begin, end), scratch.loss.slice_rows(0, end - begin));
    }
  }
  if (scratch.dlogits.defined() && scratch.dlogits.data != scratch.logits.data) {
    tape.give_back_scratch(scratch.dlogits);
  }
  tape.give_back_scratch(scratch.logits);
  return total;
}

}  // namespace

LossSum head_loss(Tape& tape, Var x, const Weight& weight, std::span<const int32_t> labels,
                  const HeadOptions& options) {
  int64_t tokens = x->value.rows(), vocab = weight.value.shape[0];
  check_shape("head_loss", "x", x->value, {tokens, weight.value.shape[1]});
  check_labels(labels, tokens, vocab);
  if (fuses(tape, x->value, weight, options)) return fused_loss(tape, x, weight, labels, options);
  return chunked_loss(tape, x, weight, labels, options);
}

void head_logits(Tape& tape, const Tensor& logits, Var x, const Weight& weight, double multiplier) {
  check_shape("head_logits", "logits", logits, {x->value.rows(), weight.value.shape[0]});
  multiply(tape, logits, x->value, weight);
  if (multiplier != 1) kernels::scale(tape.context(), logits, logits, multiplier);
}

}  // namespace tandem::ops
