// The log of a training run, log.jsonl: one JSON object per line, appended while the run goes on.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace tandem {

// A line that has "loss". Numbers that the line lacks, or has as null (JSON knows no NaN), are NaN.
struct TrainingRecord {
  int64_t step = 0;
  int64_t tokens = 0;                                      // seen so far
  double loss = std::numeric_limits<double>::quiet_NaN();  // mean nats per labelled token
  double learning_rate = std::numeric_limits<double>::quiet_NaN();
  double grad_norm = std::numeric_limits<double>::quiet_NaN();
  double tokens_per_second = std::numeric_limits<double>::quiet_NaN();
  double seconds = std::numeric_limits<double>::quiet_NaN();  // since the run's start
};

// A line that has "heldout_loss".
struct HeldoutRecord {
  int64_t step = 0;
  int64_t tokens = 0;
  double loss = std::numeric_limits<double>::quiet_NaN();  // mean nats per labelled token
  double bits_per_byte = std::numeric_limits<double>::quiet_NaN();
  double accuracy = std::numeric_limits<double>::quiet_NaN();  // of the most likely token
};

struct RunLog {
  std::vector<TrainingRecord> training;  // by ascending step
  std::vector<HeldoutRecord> heldout;
  // What was wrong with the last line, when a crash or a full disk cut it; "" otherwise.
  std::string broken_end;
};

// Reads a log. Lines of other kinds and keys that are not listed above are left out. A run that was resumed from a
// checkpoint has written the steps after it twice: the later lines count. InputError with file and line for a line
// that is not a JSON object or has wrong types; a broken last line is only noted, for it may be half written.
RunLog read_run_log(const std::filesystem::path& path);
RunLog parse_run_log(std::string_view text, const std::string& where);

}  // namespace tandem
