// Ctrl-C as a flag that long jobs look at between steps.
#pragma once

namespace tandem::app {

inline constexpr int kInterruptedExit = 130;

// While one lives, SIGINT and SIGTERM set a flag instead of ending the program; a second signal ends it at once. The
// first one writes `notice` (a literal with its line break; null: nothing) to stderr.
class InterruptScope {
 public:
  explicit InterruptScope(const char* notice = nullptr);
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;
  ~InterruptScope();
};

// True once a signal has come.
bool interrupted();

}  // namespace tandem::app
