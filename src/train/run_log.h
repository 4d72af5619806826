// log.jsonl of a run folder: one JSON object per line.
//
//   {"step", "tokens", "loss", "learning_rate", "grad_norm", "tokens_per_second", "seconds"}   every log_every steps
//   {"step", "tokens", "heldout_loss", "heldout_bits_per_byte", "heldout_accuracy"}            every validation
//   {"step", "skipped"}                                                                        a step without update
#pragma once

#include <cstdint>
#include <filesystem>

#include "base/json.h"

namespace tandem {

class RunLog {
 public:
  // Opens or creates the file and drops what was written after `last_step` (and a last line that was cut short), so
  // that a resumed run continues as if it had never stopped. JobError when the file cannot be written.
  RunLog(const std::filesystem::path& path, int64_t last_step);
  RunLog(const RunLog&) = delete;
  RunLog& operator=(const RunLog&) = delete;
  ~RunLog();

  void write(const OrderedJson& line);
  // Waits until the lines are on the disk.
  void sync();

 private:
  std::filesystem::path path_;
  int fd_ = -1;
};

}  // namespace tandem
