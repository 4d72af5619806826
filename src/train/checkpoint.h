// Checkpoints of a run: checkpoints/step-N/ with model.safetensors (master weights), optimizer.safetensors (moments),
// state.json and, written last, DONE.
//
// Everything is written into a folder aside, flushed to the disk and renamed; DONE holds the hash of state.json, which
// holds size and hash of the other files. A folder that does not add up is not a checkpoint, whatever stage a crash
// left it in.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "train/optimizer.h"
#include "train/run_state.h"

namespace tandem {

// Which checkpoints stay: the newest ones, that of the best validation, and the newest of those that a run may go back
// to (RunState::anchor).
struct Retention {
  int64_t newest = 2;
  int64_t best = -1;  // step; -1: none
  int64_t anchors = 0;
};

class CheckpointStore {
 public:
  // `folder`: checkpoints/ of a run.
  explicit CheckpointStore(std::filesystem::path folder) : folder_(std::move(folder)) {}

  // Writes step-N and then removes what needs not stay and what crashes left. JobError (disk full) leaves the earlier
  // checkpoints as they are and nothing of the new one.
  // `moments`: those of all parameters, when the optimizer has only a share of them; empty: the optimizer's.
  void save(const RunState& state, const Optimizer& optimizer, const Retention& retention,
            const std::deque<Moments>& moments = {}) const;

  // The step of the newest whole checkpoint. Others are reported and left alone. InputError when there are finished
  // checkpoints and not one of them is whole: starting from the beginning must be the user's decision.
  std::optional<int64_t> newest() const;

  // The newest whole checkpoint up to step `last` that a run may go back to.
  std::optional<int64_t> newest_anchor(int64_t last) const;

  bool whole(int64_t step) const;

  // Removes the checkpoints behind `step`, the newest first, so that the newest one is of the same course of the run
  // whenever this is cut short.
  void remove_after(int64_t step) const;

  // Reads state, parameters and moments (those that the optimizer keeps) of a whole checkpoint. InputError when they do
  // not fit the model.
  RunState load(int64_t step, Optimizer& optimizer) const;

  // The parameters alone.
  void load_parameters(int64_t step, ParameterStore& parameters) const;

  std::filesystem::path path(int64_t step) const;

 private:
  void remove_others(int64_t newest, const Retention& retention) const;

  std::filesystem::path folder_;
};

}  // namespace tandem
