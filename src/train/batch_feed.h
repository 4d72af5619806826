// The batches of a run's steps, made beside the computing: while a step computes, a thread makes those of the next one.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "arch/model.h"
#include "base/json_fwd.h"
#include "data/loader.h"
#include "text/batch.h"
#include "train/row_share.h"

namespace tandem {

struct FeedPlan {
  int64_t micro_batch = 1;  // rows
  int64_t grad_accum = 1;   // micro-batches of a step
  uint64_t seed = 0;
  Objective objective = Objective::text;
  RowShare share;           // which of a step's rows this rank computes
  int64_t total_steps = 0;  // nothing is made for steps from this one on; 0: the end is not known
};

// Used by one thread. What a step reads depends on its number, the seed and the rows before it alone, whether it was
// made ahead or not.
class BatchFeed {
 public:
  // `model`, of which only prepare() is called, and the stream's data must outlive the feed.
  BatchFeed(RowStream rows, const Model& model, const FeedPlan& plan);
  BatchFeed(const BatchFeed&) = delete;
  BatchFeed& operator=(const BatchFeed&) = delete;
  ~BatchFeed();

  // Before the first take().
  void restore(const Json& state, const std::string& where);

  // This rank's batches of a step, the number of steps before it, in the order of its passes. Waits for them, and has
  // those of the next step made from now on. They stay as they are until the next call. A run that goes back to an
  // earlier step gets that one with the rows that follow those of the last step taken.
  // What kept a batch from being made is thrown by the call for its step: InputError as in RowStream::next_batch, or of
  // Model::prepare.
  std::span<const Batch> take(int64_t step);

  // Where the stream stands behind the last step taken: what was made ahead does not count.
  const RowStream& rows() const { return taken_rows_; }

  double make_seconds() const { return taken_seconds_; }  // in which batches were made, of steps taken
  double wait_seconds() const { return wait_seconds_; }   // in which take() waited for them

 private:
  static constexpr int64_t kNone = -1;

  void ask_for(int64_t step);  // holding the lock
  void wait_until_made(std::unique_lock<std::mutex>& lock);
  void serve();
  void make(int64_t step);
  void make_batch(int64_t step, int64_t micro, Batch& batch);

  const Model& model_;
  FeedPlan plan_;
  RowStream rows_;        // behind the step made last
  RowStream taken_rows_;  // behind the step taken last
  std::vector<Batch> taken_, made_;
  Batch packed_, prepared_;  // a micro-batch that ranks share
  double taken_seconds_ = 0, wait_seconds_ = 0;

  // What is between the two threads. While a step is asked for, rows_ and made_ are the maker's.
  std::mutex mutex_;
  std::condition_variable changed_;
  int64_t asked_ = kNone;      // step to make, until it is made
  int64_t made_step_ = kNone;  // whose batches are in made_
  std::exception_ptr failure_;
  double made_seconds_ = 0;
  bool stop_ = false;
  std::thread maker_;  // the last member: begins when the others are there
};

}  // namespace tandem
