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

#include "base/json.h"
#include "train/optimizer.h"

namespace tandem {

// What a run knows besides tensors.
struct RunState {
  int64_t step = 0;     // optimizer steps done, skipped ones included
  int64_t updates = 0;  // of them, those that changed the parameters
  int64_t tokens = 0;   // read so far
  int64_t skipped = 0;  // steps without update in all
  int64_t skipped_in_row = 0;
  double loss = 0;     // of the last step
  double seconds = 0;  // spent training so far; never enters a number of the model
  // Since the last line of the log.
  double window_loss = 0;  // sum over labelled tokens
  int64_t window_labelled = 0;
  Json cursor;            // RowStream::state()
  Json heldout;           // the last validation and its step; null: none yet
  std::string tokenizer;  // hash
  std::string isa;
  std::string precision;
};

class CheckpointStore {
 public:
  // `folder`: checkpoints/ of a run.
  explicit CheckpointStore(std::filesystem::path folder) : folder_(std::move(folder)) {}

  // Writes step-N and then removes all but the newest `keep` ones and what crashes left. JobError (disk full) leaves
  // the earlier checkpoints as they are.
  void save(const RunState& state, const Optimizer& optimizer, int64_t keep) const;

  // The step of the newest whole checkpoint. Others are reported and left alone.
  std::optional<int64_t> newest() const;

  // Reads state, parameters and moments of a whole checkpoint. InputError when they do not fit the model.
  RunState load(int64_t step, Optimizer& optimizer) const;

  std::filesystem::path path(int64_t step) const;

 private:
  void remove_others(int64_t newest, int64_t keep) const;

  std::filesystem::path folder_;
};

}  // namespace tandem
