#include "dist/communicator.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/clock.h"
#include "base/error.h"

namespace tandem {

Communicator::Request Communicator::send(int to, int tag, std::span<const std::byte> bytes) {
  traffic_.bytes_sent += static_cast<int64_t>(bytes.size());
  ++traffic_.messages_sent;
  return start_send(to, tag, bytes);
}

Communicator::Request Communicator::receive(int from, int tag, std::span<std::byte> bytes) {
  return start_receive(from, tag, bytes);
}

void Communicator::wait(std::span<const Request> requests) {
  Stopwatch watch;
  for (Request request : requests) {
    Patience patience;
    while (!test(request)) patience.pause();
  }
  count_wait(watch.seconds());
}

void Patience::pause() {
  constexpr int kLooks = 200, kYields = 400;
  constexpr int64_t kMostMicroseconds = 1000;
  ++looks_;
  if (looks_ < kLooks) return;
  if (looks_ < kYields) {
    sched_yield();
    return;
  }
  int64_t microseconds = std::min<int64_t>(kMostMicroseconds, 20 * int64_t{looks_ - kYields + 1});
  std::this_thread::sleep_for(std::chrono::microseconds(microseconds));
}

void Alone::abort(int code) { ::_exit(code); }

Communicator::Request Alone::start_send(int, int, std::span<const std::byte>) {
  throw LogicError({.what = "message from a process that is alone"});
}

Communicator::Request Alone::start_receive(int, int, std::span<std::byte>) {
  throw LogicError({.what = "message to a process that is alone"});
}

}  // namespace tandem
