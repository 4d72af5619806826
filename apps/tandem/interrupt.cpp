#include "interrupt.h"

#include <csignal>

namespace tandem::app {
namespace {

// A signal handler has no other way to hand anything over.
volatile std::sig_atomic_t g_signalled = 0;

void install(void (*handler)(int), int flags) {
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

}  // namespace

// SA_RESETHAND: the second signal finds the system's default. SA_RESTART is left out, so that a read from a terminal
// returns when Ctrl-C is pressed.
InterruptScope::InterruptScope() {
  g_signalled = 0;
  install([](int) { g_signalled = 1; }, static_cast<int>(SA_RESETHAND));
}

InterruptScope::~InterruptScope() { install(SIG_DFL, 0); }

bool interrupted() { return g_signalled != 0; }

}  // namespace tandem::app
