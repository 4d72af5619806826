// Ctrl-C as a flag that long jobs look at between steps.
#pragma once

namespace tandem::app {

inline constexpr int kInterruptedExit = 130;

// While one lives, SIGINT, SIGTERM and SIGUSR1 (which mpirun and batch systems hand on without ending the job) set a
// flag instead of ending the program. The first one writes `notice` (a
// literal with its line break; null: nothing) to stderr. A second signal ends the program at once, or is noted like the
// first.
class InterruptScope {
 public:
  enum class Again { ends, noted };
  explicit InterruptScope(const char* notice = nullptr, Again again = Again::ends);
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;
  ~InterruptScope();
};

// True once a signal has come.
bool interrupted();
// The signal was SIGTERM: not a person who wants to stop what goes on, but the end of the program.
bool terminated();
// A SIGINT is as if it had not come.
void forget_interrupt();

}  // namespace tandem::app
