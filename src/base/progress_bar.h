// A bar on stderr where that is a terminal, plain lines elsewhere.
#pragma once

#include <string>

namespace tandem {

class ProgressBar {
 public:
  ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  ~ProgressBar();

  // `fraction` of the work is done, 0..1; `line` says so in words. Drawn at most ten times a second, printed at most
  // every five seconds; always with `now`.
  void show(double fraction, const std::string& line, bool now = false);
  // A line of its own above the bar.
  void say(const std::string& line);
  void clear();

 private:
  bool terminal_;
  bool shown_ = false;
  double last_ = -1e9;
};

// "0:07", "12:30", "2:05:00"
std::string clock_text(double seconds);

}  // namespace tandem
