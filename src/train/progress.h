// Progress of a run on stderr: a bar on a terminal, plain lines elsewhere.
#pragma once

#include <string>

#include "base/progress_bar.h"
#include "train/trainer.h"

namespace tandem {

class ProgressDisplay {
 public:
  void show(const TrainProgress& progress);
  // A line of its own above the bar.
  void say(const std::string& line) { bar_.say(line); }

 private:
  ProgressBar bar_;
};

// "step 120/1000  12%  1:03 left  loss 3.214  5,120 tokens/s  lr 2.00e-03  norm 0.41  skipped 2  went back 1"; what is
// most wanted comes first, for a narrow terminal cuts the end. Nothing skipped and no way back are not mentioned.
std::string progress_line(const TrainProgress& progress);

}  // namespace tandem
