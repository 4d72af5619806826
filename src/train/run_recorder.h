// What a run writes down while it goes on: log.jsonl, one JSON object per line, and the same for TensorBoard.
//
//   {"step", "tokens", "loss", "learning_rate", "grad_norm", "tokens_per_second", "seconds"}   every log_every steps
//   {"step", "tokens", "heldout_loss", "heldout_bits_per_byte", "heldout_accuracy"}            every validation
//   {"step", "skipped"}                                                                        a step without update
//   {"step", "outlier_grad_norm", "median_grad_norm"}                                          an outlier
//   {"step", "rollback_to", "reason", "learning_rate_scale"}                                   a divergence
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "base/json_fwd.h"
#include "formats/tensorboard.h"

namespace tandem {

class RunRecorder {
 public:
  // Where a resumed run stands: what was recorded behind it is dropped, so that the run continues as if it had never
  // stopped.
  struct Place {
    int64_t step = 0;
    int64_t log_bytes = 0;
  };

  // Opens or creates the log. `events`: folder for TensorBoard's files, each start of a run adding one; empty: none.
  // JobError when the disk refuses.
  RunRecorder(const std::filesystem::path& log, const std::filesystem::path& events, const Place& place);
  RunRecorder(const RunRecorder&) = delete;
  RunRecorder& operator=(const RunRecorder&) = delete;
  ~RunRecorder();

  // One line, which has a "step". Every other number of it becomes a scalar of TensorBoard, every text a text; known
  // keys are sorted into train/, heldout/ and guard/, others keep their names.
  void write(const OrderedJson& line);

  // The run goes on from `step`: TensorBoard forgets what came behind it; the log keeps it in front of this line.
  void write_rollback(const OrderedJson& line, int64_t step);

  // Waits until all of it is on the disk.
  void sync();
  int64_t log_bytes() const { return log_bytes_; }

 private:
  void append(const std::string& text);
  void write_events(const OrderedJson& line);

  std::filesystem::path log_;
  int fd_ = -1;
  int64_t log_bytes_ = 0;
  std::optional<EventWriter> events_;
};

}  // namespace tandem
