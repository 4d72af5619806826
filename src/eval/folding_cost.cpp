#include "eval/folding_cost.h"

#include <algorithm>

#include "base/clock.h"
#include "base/error.h"
#include "base/rng.h"

namespace tandem {
namespace {

constexpr uint64_t kTokenSeed = 1;

std::vector<int32_t> random_ids(int64_t count, int64_t vocabulary) {
  std::vector<int32_t> ids;
  Rng rng(kTokenSeed, 0);
  while (static_cast<int64_t>(ids.size()) < count) {
    ids.push_back(static_cast<int32_t>(rng.below(static_cast<uint32_t>(vocabulary))));
  }
  return ids;
}

}  // namespace

FoldingLoad::FoldingLoad(Tape& tape, Model& model, EncoderState encoder, int64_t context)
    : tape_(tape),
      model_(model),
      context_(context),
      caches_(model.new_caches({.encoder = encoder})),
      read_(model.new_state(*caches_)),
      ids_(random_ids(context, model.config().vocab_size)),
      logits_(DType::f32, {1, model.config().vocab_size}) {
  if (tape.recording()) throw LogicError({.what = "FoldingLoad: the tape records"});
  tape_.reset();
  model_.prefill(tape_, *read_, ids_);
  read_->settle();
}

FoldingCycle FoldingLoad::cycle(int64_t block_tokens) {
  if (block_tokens > context_) {
    throw LogicError({.what = "FoldingLoad: a block longer than the context",
                      .got = std::to_string(block_tokens),
                      .expected = std::to_string(context_)});
  }
  bool folds = block_tokens > 0;
  FoldingCycle cycle{.tokens = folds ? block_tokens : kUnfoldedTokens};
  std::unique_ptr<State> state = read_->fork();
  int64_t begin = std::max<int64_t>(context_ - cycle.tokens / 2, 1);
  // A page that is shared with the whole context would be copied by the first fold; generation has no such page.
  bool starts = state->keep_read(begin) && state->reserve_read(1) && state->keep_read(begin);
  if (!starts && folds) throw LogicError({.what = "FoldingLoad: the architecture cannot take back what it has read"});
  state->settle();

  Stopwatch watch;
  for (int64_t i = 0; i < cycle.tokens; ++i) {
    watch.restart();
    tape_.reset();
    Piece piece{state.get(), std::span(ids_).subspan(static_cast<size_t>(i % context_), 1)};
    model_.write(tape_, {&piece, 1}, logits_.tensor());
    cycle.write_seconds += watch.seconds();
    StateBytes pages = state->page_bytes();
    cycle.mean_bytes_live += static_cast<double>(pages.live) / static_cast<double>(cycle.tokens);
    cycle.mean_bytes_with_encoder += static_cast<double>(pages.with_encoder) / static_cast<double>(cycle.tokens);
  }
  if (!folds) return cycle;
  watch.restart();
  tape_.reset();
  model_.fold(tape_, *state);
  cycle.fold_seconds = watch.seconds();
  cycle.bytes_after_fold = state->page_bytes().with_encoder;
  watch.restart();
  state->settle();
  cycle.fold_seconds += watch.seconds();
  return cycle;
}

double FoldingLoad::flops_per_token(int64_t block_tokens) {
  Profiler& profiler = tape_.context().profiler();
  profiler.clear();
  profiler.enable(true);
  FoldingCycle measured = cycle(block_tokens);
  profiler.enable(false);
  double flops = 0;
  for (const ProfileEntry& op : profiler.entries()) {
    bool counts = op.name == "matmul" || op.name == "packed matmul" || op.name == "attention";
    if (counts) flops += op.flops;
  }
  return flops / static_cast<double>(measured.tokens);
}

}  // namespace tandem
