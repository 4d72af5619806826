// Disks that fill up, fail or lose power, at any call that changes them.
//
// This program's own definitions of write(), fsync(), rename() and their like stand in front of the C library's, for
// our code as for the standard library's. They count calls and pass them on until the fault is due.
#pragma once

#include <cstdint>
#include <functional>

namespace tandem::test {

enum class Fault {
  none,        // counts only
  die,         // the process ends in front of the call, as by kill -9
  die_inside,  // half of a write is done, then the process ends
  power_loss,  // the process ends; what was not flushed is lost: bytes of files, and renames in their folders
  fail,        // this one call fails (EIO)
  disk_full,   // from this call on nothing can be created or grow (ENOSPC); half of the first write still fits
};

// Exit code of a process that a fault has ended.
inline constexpr int kDied = 77;

// While one lives, the calls of this process (from 0) meet a fault at call `at`. Flushing is not passed on to the disk:
// it would only take time.
class FaultInjection {
 public:
  FaultInjection(Fault fault, int64_t at);
  FaultInjection(const FaultInjection&) = delete;
  FaultInjection& operator=(const FaultInjection&) = delete;
  ~FaultInjection();

  int64_t calls() const;
};

// Calls that `job` makes when nothing happens.
int64_t count_calls(const std::function<void()>& job);

// Runs `job` in a child process under the fault. True when the fault has ended it, false when it came to its end.
// Anything else (an exception, another exit) fails the test.
bool dies_in_child(Fault fault, int64_t at, const std::function<void()>& job);

}  // namespace tandem::test
