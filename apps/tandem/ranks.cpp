#include "ranks.h"

#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>
#include <string>
#include <thread>

#include "base/error.h"
#include "dist/launch.h"
#include "interrupt.h"
#include "output.h"

namespace tandem::app {
namespace {

constexpr int kFailed = 1;
constexpr int kBadInput = 2;

// How long a rank waits for rank 0 to meet the same error, which then ends the job.
constexpr auto kGrace = std::chrono::milliseconds(1500);

// The end of the others reaches this one as SIGTERM, too.
[[noreturn]] void end_all(Communicator& ranks, int code, const std::string& what) {
  if (ranks.rank() > 0) {
    auto until = std::chrono::steady_clock::now() + kGrace;
    while (std::chrono::steady_clock::now() < until && !interrupted()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }
  if (ranks.rank() == 0) {
    fmt::print(stderr, "tandem: {}\n", what);
  } else if (!interrupted()) {
    fmt::print(stderr, "tandem: rank {}: {}\n", ranks.rank(), what);
  }
  std::fflush(stderr);
  ranks.abort(code);
  std::_Exit(code);  // not reached; compilers don't believe it of a virtual function
}

}  // namespace

int on_ranks(const std::function<int(Communicator&)>& job) {
  std::unique_ptr<Communicator> ranks = connect();
  if (ranks->size() == 1) return job(*ranks);
  try {
    int code = job(*ranks);
    flush_output();
    return code;
  } catch (const InputError& error) {
    end_all(*ranks, kBadInput, error.what());
  } catch (const std::bad_alloc&) {
    end_all(*ranks, kFailed, "out of memory");
  } catch (const std::exception& error) {
    end_all(*ranks, kFailed, error.what());
  }
}

int threads_for(Communicator& ranks, int wanted) {
  return wanted > 0 || ranks.size() == 1 ? wanted : machine_share(ranks).threads;
}

}  // namespace tandem::app
