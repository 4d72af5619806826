#include "train/batch_feed.h"

#include <utility>

#include "base/clock.h"
#include "base/json.h"
#include "base/rng.h"

namespace tandem {

BatchFeed::BatchFeed(RowStream rows, const Model& model, const FeedPlan& plan)
    : model_(model),
      plan_(plan),
      rows_(std::move(rows)),
      taken_rows_(rows_),
      taken_(static_cast<size_t>(plan.share.passes)),
      made_(taken_.size()),
      maker_([this] { serve(); }) {}

BatchFeed::~BatchFeed() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  maker_.join();
}

void BatchFeed::restore(const Json& state, const std::string& where) {
  rows_.restore(state, where);
  taken_rows_.go_to(rows_);
}

std::span<const Batch> BatchFeed::take(int64_t step) {
  Stopwatch watch;
  std::unique_lock lock(mutex_);
  wait_until_made(lock);
  if (made_step_ != step) {
    rows_.go_to(taken_rows_);
    ask_for(step);
    wait_until_made(lock);
  }
  if (failure_) std::rethrow_exception(failure_);
  taken_rows_.go_to(rows_);
  taken_.swap(made_);
  taken_seconds_ += made_seconds_;
  made_step_ = kNone;
  if (plan_.total_steps == 0 || step + 1 < plan_.total_steps) ask_for(step + 1);
  wait_seconds_ += watch.seconds();
  return taken_;
}

void BatchFeed::ask_for(int64_t step) {
  asked_ = step;
  failure_ = nullptr;
  changed_.notify_all();
}

void BatchFeed::wait_until_made(std::unique_lock<std::mutex>& lock) {
  changed_.wait(lock, [this] { return asked_ == kNone; });
}

void BatchFeed::serve() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return asked_ != kNone || stop_; });
    if (stop_) return;
    const int64_t step = asked_;
    lock.unlock();
    Stopwatch watch;
    std::exception_ptr failure;
    try {
      make(step);
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    made_seconds_ = watch.seconds();
    failure_ = failure;
    made_step_ = step;
    asked_ = kNone;
    changed_.notify_all();
  }
}

void BatchFeed::make(int64_t step) {
  const RowShare& share = plan_.share;
  for (int64_t micro = 0; micro < plan_.grad_accum; ++micro) {
    if (share.has_pass(micro)) {
      make_batch(step, micro, made_[static_cast<size_t>(micro - share.first_pass)]);
    } else {
      rows_.skip(plan_.micro_batch);
    }
  }
}

// This rank's rows of a micro-batch.
void BatchFeed::make_batch(int64_t step, int64_t micro, Batch& batch) {
  // A stream of its own for every micro-batch: a resumed run draws what the first one would have drawn.
  Rng rng(plan_.seed, static_cast<uint64_t>(step * plan_.grad_accum + micro));
  const RowShare& share = plan_.share;
  const bool whole = share.rows == plan_.micro_batch;
  Batch& packed = whole ? batch : packed_;
  rows_.next_batch(plan_.micro_batch, packed);
  packed.objective = plan_.objective;
  if (whole) {
    model_.prepare(packed, rng);
    return;
  }
  prepared_ = packed;
  model_.prepare(prepared_, rng);
  batch = rows_of_prepared(model_, packed, prepared_, share.first_row, share.first_row + share.rows);
}

}  // namespace tandem
