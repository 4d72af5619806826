// Progress of a run on stderr: a bar on a terminal, plain lines elsewhere.
#pragma once

#include <string>

#include "train/trainer.h"

namespace tandem {

class ProgressDisplay {
 public:
  ProgressDisplay();
  ProgressDisplay(const ProgressDisplay&) = delete;
  ProgressDisplay& operator=(const ProgressDisplay&) = delete;
  ~ProgressDisplay();

  void show(const TrainProgress& progress);
  // A line of its own above the bar.
  void say(const std::string& line);

 private:
  void clear();

  bool terminal_;
  bool bar_shown_ = false;
  double last_ = -1e9;
};

// "step 120/1000  12%  1:03 left  loss 3.214  5,120 tokens/s  lr 2.00e-03  norm 0.41  skipped 2  went back 1"; what is
// most wanted comes first, for a narrow terminal cuts the end. Nothing skipped and no way back are not mentioned.
std::string progress_line(const TrainProgress& progress);

// "0:07", "12:30", "2:05:00"
std::string clock_text(double seconds);

}  // namespace tandem
