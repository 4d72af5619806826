#include "eval/perplexity.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"

namespace tandem {
namespace {

constexpr uint64_t kBoundarySeed = 0x7A11;
constexpr int64_t kRowsPerPass = 4;

}  // namespace

double PositionLoss::loss() const { return loss_sum / static_cast<double>(tokens); }

double EvalResult::loss() const { return loss_sum / static_cast<double>(tokens); }

double EvalResult::perplexity() const { return std::exp(loss()); }

double EvalResult::bits_per_byte() const {
  return text_bytes > 0 ? loss_sum / std::numbers::ln2 / static_cast<double>(text_bytes) : 0;
}

double EvalResult::accuracy() const { return static_cast<double>(correct) / static_cast<double>(tokens); }

namespace {

// Lengths of first parts that are `share` of each text; 0 for texts that can't be cut.
std::vector<int32_t> prefixes_of(const Batch& batch, double share) {
  std::vector<int32_t> prefixes;
  for (const TokenRange& text : batch.texts()) {
    auto wanted = static_cast<int64_t>(std::lround(share * static_cast<double>(text.size())));
    bool whole = text.size() < 2 || batch.is_padding(text);
    prefixes.push_back(whole ? 0 : static_cast<int32_t>(std::clamp<int64_t>(wanted, 1, text.size() - 1)));
  }
  return prefixes;
}

// What begins and ends texts is predicted by some architectures and not by others.
void ignore_document_tokens(Batch& batch, const ModelConfig& config) {
  for (int32_t& label : batch.two_sided ? batch.writer.labels : batch.labels) {
    if (label == config.bos_id || label == config.eos_id) label = kIgnoreLabel;
  }
}

// Every row anew from its start on.
void open_blocks(Batch& batch, int64_t tokens) {
  batch.boundaries.clear();
  for (int64_t row = 0; row < batch.rows; ++row) {
    for (int64_t t = tokens; t < batch.length; t += tokens) {
      batch.boundaries.push_back(static_cast<int32_t>(row * batch.length + t));
    }
  }
}

std::vector<PositionLoss> empty_ranges(const std::vector<int64_t>& ends) {
  std::vector<PositionLoss> ranges;
  for (int64_t end : ends) ranges.push_back({.begin = ranges.empty() ? 0 : ranges.back().end, .end = end});
  return ranges;
}

// Adds the losses of a batch to the ranges in which their positions lie.
void add_by_position(std::vector<PositionLoss>& ranges, const Batch& batch, const Tensor& losses) {
  std::span<const int32_t> labels = batch.loss_labels();
  const std::vector<int32_t>& positions = batch.two_sided ? batch.writer.positions : batch.positions;
  for (size_t t = 0; t < labels.size(); ++t) {
    if (labels[t] == kIgnoreLabel) continue;
    auto range = std::upper_bound(ranges.begin(), ranges.end(), positions[t],
                                  [](int32_t position, const PositionLoss& each) { return position < each.end; });
    if (range == ranges.end()) continue;
    range->loss_sum += load_element(losses, static_cast<int64_t>(t), 0);
    ++range->tokens;
  }
}

}  // namespace

EvalResult evaluate(Model& model, Tape& tape, const HeldOut& rows, const EvalTask& task) {
  if (tape.recording()) throw LogicError({.what = "evaluate: the tape records"});
  EvalResult result;
  result.by_position = empty_ranges(task.position_ends);
  for (int64_t first = 0; first < rows.rows(); first += kRowsPerPass) {
    Batch batch = rows.batch(first, kRowsPerPass);
    bool open = batch.objective == Objective::text;
    batch.objective = task.objective.value_or(open ? default_objective(model.config().arch) : batch.objective);
    bool prefix_lm = batch.objective == Objective::prefix_lm;
    if (prefix_lm && task.prefix_share > 0) batch.prefixes = prefixes_of(batch, task.prefix_share);
    Rng rng(kBoundarySeed, static_cast<uint64_t>(first / kRowsPerPass));
    model.prepare(batch, rng);
    if (task.block_tokens > 0 && batch.objective == Objective::text) open_blocks(batch, task.block_tokens);
    if (prefix_lm) ignore_document_tokens(batch, model.config());
    result.text_bytes += rows.text_bytes(batch.loss_labels());
    tape.reset();
    Tensor losses;
    if (!task.position_ends.empty()) {
      losses = tape.arena().tensor(tape.precision().residual, {static_cast<int64_t>(batch.loss_labels().size())});
    }
    ops::LossSum sum = model.loss(tape, batch, /*count_correct=*/true, losses);
    if (losses.defined()) add_by_position(result.by_position, batch, losses);
    result.loss_sum += sum.sum;
    result.tokens += sum.tokens;
    result.correct += sum.correct;
  }
  tape.reset();
  return result;
}

}  // namespace tandem
