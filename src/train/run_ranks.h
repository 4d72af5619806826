// The ranks that share a run, as the training loop sees them: who writes, what is decided together.
#pragma once

#include <memory>
#include <string>

#include "dist/communicator.h"
#include "train/data_parallel.h"
#include "train/row_share.h"
#include "train/run_config.h"

namespace tandem {

class RunRanks {
 public:
  // `ranks`: null for one process. InputError when the rows of a step can't be shared out.
  RunRanks(Communicator* ranks, const RunConfig& config);

  int size() const { return ranks_ ? ranks_->size() : 1; }
  // Rank 0 validates, writes and reports.
  bool leads() const { return !ranks_ || ranks_->rank() == 0; }
  const RowShare& share() const { return share_; }
  // The config of one rank's share of a step.
  RunConfig share_of(const RunConfig& config) const;
  int machine_ranks() const { return machine_ranks_; }

  // To be called once the parameters are allocated, before the optimizer is made. Null when alone.
  DataParallel* connect(Context& ctx, ParameterStore& parameters, bool zero);
  DataParallel* data_parallel() const { return parallel_.get(); }

  // What rank 0 says, on all ranks.
  int64_t led(int64_t value) const;
  std::string led(const std::string& text) const;
  // The first text that is not empty, by rank.
  std::string first_said(const std::string& own) const;
  // InputError when a text is not the same on all ranks; `what` it is about.
  void require_same(const std::string& text, const char* what) const;
  void wait_for_all() const;
  int64_t sum(int64_t value) const;

  // What is decided behind every step: rank 0's clock, and whether anybody wants to stop.
  struct Decision {
    double seconds = 0;
    double step_seconds = 0;
    bool stop = false;
  };
  Decision decide(const Decision& own) const;
  static constexpr int64_t kDecisionDoubles = 3;

  // JobError when ranks have come to different parameters: a broken machine, or one that computes otherwise.
  void require_same_parameters(const ParameterStore& parameters) const;

 private:
  Communicator* ranks_;
  RowShare share_;
  int machine_ranks_ = 1;
  std::unique_ptr<DataParallel> parallel_;
};

}  // namespace tandem
