#include "interrupt.h"

#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

namespace tandem::app {
namespace {

// A signal handler has no other way to be handed anything, or to hand it over.
volatile std::sig_atomic_t g_signalled = 0;
volatile std::sig_atomic_t g_terminated = 0;
const char* volatile g_notice = nullptr;

void note_signal(int signal) {
  int before = errno;
  if (signal == SIGTERM) g_terminated = 1;
  g_signalled = 1;
  const char* notice = g_notice;
  // Nobody may be there to read it: that changes nothing.
  if (notice && ::write(STDERR_FILENO, notice, std::strlen(notice)) < 0) g_notice = nullptr;
  errno = before;
}

void install(void (*handler)(int), int flags) {
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGUSR1, &action, nullptr);
}

}  // namespace

// SA_RESETHAND: the second signal finds the system's default. SA_RESTART is left out, so that a read from a terminal
// returns when Ctrl-C is pressed.
InterruptScope::InterruptScope(const char* notice, Again again) {
  g_signalled = 0;
  g_terminated = 0;
  g_notice = notice;
  install(note_signal, again == Again::ends ? static_cast<int>(SA_RESETHAND) : 0);
}

InterruptScope::~InterruptScope() { install(SIG_DFL, 0); }

bool interrupted() { return g_signalled != 0; }

bool terminated() { return g_terminated != 0; }

void forget_interrupt() { g_signalled = g_terminated; }

}  // namespace tandem::app
