#include "base/threads.h"

#include <sched.h>

#include <algorithm>

#include "base/clock.h"
#include "base/dry_run.h"

namespace tandem {
namespace {

// Set while a thread runs a chunk, so that a nested run() does not wait for itself.
thread_local int current_worker = -1;

thread_local bool dry = false;

// How long an idle worker looks for the next job before it sleeps. Waking a sleeper costs about 50 us, and the ops of
// a training step follow each other closer than that.
constexpr double kIdleSpinSeconds = 60e-6;

void pause() { __builtin_ia32_pause(); }

}  // namespace

DryRun::DryRun() : outer_(std::exchange(dry, true)) {}
DryRun::~DryRun() { dry = outer_; }

int available_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1u, std::thread::hardware_concurrency());
}

ThreadPool::ThreadPool(int threads) : threads_(std::max(1, threads)) {
  workers_.reserve(static_cast<size_t>(threads_ - 1));
  for (int worker = 1; worker < threads_; ++worker) {
    workers_.emplace_back([this, worker] { worker_loop(worker); });
  }
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(sleep_);
    stop_ = true;
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::take_chunks(int worker) {
  int outer = std::exchange(current_worker, worker);
  for (;;) {
    int64_t chunk = next_.fetch_add(1, std::memory_order_relaxed);
    if (chunk >= chunks_) break;
    try {
      (*body_)(chunk, worker);
    } catch (...) {
      std::lock_guard lock(failure_mutex_);
      if (!failure_) failure_ = std::current_exception();
    }
  }
  current_worker = outer;
}

void ThreadPool::run(int64_t chunks, const ChunkBody& body) {
  if (chunks <= 0 || dry) return;
  if (current_worker >= 0) {
    for (int64_t chunk = 0; chunk < chunks; ++chunk) body(chunk, current_worker);
    return;
  }
  std::lock_guard only_one(caller_);
  body_ = &body;
  chunks_ = chunks;
  next_.store(0, std::memory_order_relaxed);
  bool shared = threads_ > 1 && chunks > 1;
  if (shared) {
    gate_.store(kOpen, std::memory_order_release);
    job_.fetch_add(1, std::memory_order_seq_cst);
    if (sleeping_.load(std::memory_order_seq_cst) > 0) {
      std::lock_guard lock(sleep_);
      wake_.notify_all();
    }
  }
  take_chunks(0);
  if (shared) {
    gate_.fetch_and(~kOpen, std::memory_order_acq_rel);
    for (int spins = 0; gate_.load(std::memory_order_acquire) != 0; ++spins) {
      if (spins < 4000) {
        pause();
      } else {
        std::this_thread::yield();
      }
    }
  }
  body_ = nullptr;
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

void ThreadPool::worker_loop(int worker) {
  uint64_t seen = 0;
  while (!stop_.load(std::memory_order_acquire)) {
    double idle_since = seconds_now();
    while (job_.load(std::memory_order_seq_cst) == seen && !stop_.load(std::memory_order_relaxed)) {
      for (int i = 0; i < 64; ++i) pause();
      if (seconds_now() - idle_since < kIdleSpinSeconds) continue;
      std::unique_lock lock(sleep_);
      sleeping_.fetch_add(1, std::memory_order_seq_cst);
      wake_.wait(lock, [&] { return job_.load(std::memory_order_seq_cst) != seen || stop_.load(); });
      sleeping_.fetch_sub(1, std::memory_order_seq_cst);
    }
    seen = job_.load(std::memory_order_seq_cst);
    uint64_t gate = gate_.load(std::memory_order_acquire);
    bool entered = false;
    while (gate & kOpen) {
      if (gate_.compare_exchange_weak(gate, gate + 1, std::memory_order_acq_rel)) {
        entered = true;
        break;
      }
    }
    if (!entered) continue;
    take_chunks(worker);
    gate_.fetch_sub(1, std::memory_order_acq_rel);
  }
}

}  // namespace tandem
