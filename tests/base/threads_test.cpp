#include "base/threads.h"

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>

namespace tandem {
namespace {

class Pools : public testing::TestWithParam<int> {};

TEST_P(Pools, RunEveryChunkOnce) {
  ThreadPool pool(GetParam());
  for (int64_t chunks : {1, 2, 3, 64, 1000}) {
    std::vector<std::atomic<int>> seen(static_cast<size_t>(chunks));
    pool.run(chunks, [&](int64_t chunk, int) { ++seen[static_cast<size_t>(chunk)]; });
    for (const auto& count : seen) EXPECT_EQ(count, 1);
  }
}

TEST_P(Pools, DoNothingForNoChunks) {
  ThreadPool pool(GetParam());
  int calls = 0;
  pool.run(0, [&](int64_t, int) { ++calls; });
  pool.run(-5, [&](int64_t, int) { ++calls; });
  EXPECT_EQ(calls, 0);
}

// Each worker's slot is written without any lock: a data race here is one that users of `worker` would meet.
TEST_P(Pools, GiveEachWorkerToOneChunkAtATime) {
  ThreadPool pool(GetParam());
  std::vector<int64_t> sums(static_cast<size_t>(pool.threads()));
  std::vector<std::atomic<int>> inside(static_cast<size_t>(pool.threads()));
  std::atomic<int> shared{0};
  for (int round = 0; round < 50; ++round) {
    pool.run(100, [&](int64_t chunk, int worker) {
      auto w = static_cast<size_t>(worker);
      if (inside[w].fetch_add(1) != 0) ++shared;
      sums[w] += chunk;
      --inside[w];
    });
  }
  EXPECT_EQ(shared, 0);
  EXPECT_EQ(std::accumulate(sums.begin(), sums.end(), int64_t{0}), 50 * 4950);
}

// What the chunks wrote is visible to the caller after run(), without atomics.
TEST_P(Pools, PublishTheResults) {
  ThreadPool pool(GetParam());
  std::vector<int> values(513);
  for (int round = 1; round <= 200; ++round) {
    pool.run(513, [&](int64_t chunk, int) { values[static_cast<size_t>(chunk)] += round; });
    ASSERT_EQ(values.front(), round * (round + 1) / 2);
    ASSERT_EQ(values.back(), round * (round + 1) / 2);
  }
}

TEST_P(Pools, ThrowTheExceptionOfAChunkAgainAndLiveOn) {
  ThreadPool pool(GetParam());
  for (int round = 0; round < 20; ++round) {
    std::atomic<int> calls{0};
    try {
      pool.run(40, [&](int64_t chunk, int) {
        ++calls;
        if (chunk == 17) throw std::runtime_error("chunk 17");
      });
      FAIL() << "nothing was thrown";
    } catch (const std::runtime_error& e) {
      EXPECT_STREQ(e.what(), "chunk 17");
    }
    EXPECT_EQ(calls, 40) << "the other chunks run all the same";
  }
  std::atomic<int> after{0};
  pool.run(10, [&](int64_t, int) { ++after; });
  EXPECT_EQ(after, 10);
}

TEST_P(Pools, AllChunksMayThrow) {
  ThreadPool pool(GetParam());
  EXPECT_THROW(pool.run(100, [](int64_t chunk, int) { throw std::out_of_range(std::to_string(chunk)); }),
               std::out_of_range);
}

TEST_P(Pools, RunNestedJobsOnTheSpot) {
  ThreadPool pool(GetParam());
  std::vector<std::atomic<int>> seen(20 * 30);
  std::atomic<int> moved{0};
  pool.run(20, [&](int64_t outer, int worker) {
    pool.run(30, [&](int64_t inner, int nested_worker) {
      if (nested_worker != worker) ++moved;
      ++seen[static_cast<size_t>(outer * 30 + inner)];
    });
  });
  EXPECT_EQ(moved, 0);
  for (const auto& count : seen) EXPECT_EQ(count, 1);
}

// Short jobs back to back: a worker often arrives when its job is over and the next has begun.
TEST_P(Pools, SurviveManyTinyJobs) {
  ThreadPool pool(GetParam());
  std::atomic<int64_t> total{0};
  for (int round = 0; round < 20'000; ++round) {
    pool.run(1 + round % 5, [&](int64_t chunk, int) { total.fetch_add(chunk + 1, std::memory_order_relaxed); });
  }
  EXPECT_EQ(total, 20'000 / 5 * (1 + 3 + 6 + 10 + 15));
}

INSTANTIATE_TEST_SUITE_P(Threads, Pools, testing::Values(1, 2, 3, 8),
                         [](const auto& instance) { return "of" + std::to_string(instance.param); });

// The second chunk is taken by a worker or not at all: run() would never return if the wake-up of a sleeping worker
// were lost. Pauses around the time after which a worker goes to sleep (60 us) aim at the moment between its last look
// and its sleep.
TEST(ThreadPool, WakesItsWorkers) {
  ThreadPool pool(2);
  for (int round = 0; round < 2000; ++round) {
    auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(40 + round % 60);
    while (std::chrono::steady_clock::now() < until) {
    }
    std::atomic<int> arrived{0};
    pool.run(2, [&](int64_t, int) {
      ++arrived;
      while (arrived.load() < 2) std::this_thread::yield();
    });
    ASSERT_EQ(arrived, 2);
  }
}

TEST(ThreadPool, StartsAndStopsQuickly) {
  for (int round = 0; round < 200; ++round) {
    ThreadPool pool(1 + round % 4);
    if (round % 3 == 0) continue;
    std::atomic<int> calls{0};
    pool.run(3, [&](int64_t, int) { ++calls; });
    ASSERT_EQ(calls, 3);
  }
}

TEST(ThreadPool, ServesCallersOneAfterTheOther) {
  ThreadPool pool(3);
  std::vector<std::thread> callers;
  std::atomic<int64_t> total{0};
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&] {
      for (int round = 0; round < 200; ++round) {
        std::atomic<int64_t> own{0};
        pool.run(10, [&](int64_t chunk, int) { own += chunk; });
        total += own;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(total, 4 * 200 * 45);
}

TEST(ThreadPool, CountsTheCaller) {
  EXPECT_EQ(ThreadPool(0).threads(), 1);
  EXPECT_EQ(ThreadPool(-3).threads(), 1);
  EXPECT_EQ(ThreadPool(3).threads(), 3);
  EXPECT_GE(available_cores(), 1);
}

}  // namespace
}  // namespace tandem
