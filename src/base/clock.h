// Monotonic time in seconds.
#pragma once

#include <chrono>

namespace tandem {

inline double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

class Stopwatch {
 public:
  double seconds() const { return seconds_now() - start_; }
  double restart() {
    double now = seconds_now(), elapsed = now - start_;
    start_ = now;
    return elapsed;
  }

 private:
  double start_ = seconds_now();
};

}  // namespace tandem
