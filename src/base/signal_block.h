// Keeps signals from a thread for a while.
#pragma once

#include <pthread.h>

#include <csignal>

namespace tandem {

// While it lives, signals to the calling thread wait; they arrive behind it. Faults of the thread itself (SIGSEGV, ...)
// still end the program.
class SignalBlock {
 public:
  SignalBlock() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalBlock() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalBlock(const SignalBlock&) = delete;
  SignalBlock& operator=(const SignalBlock&) = delete;

 private:
  sigset_t before_;
};

}  // namespace tandem
