// A pool for loops over chunks. The caller takes chunks too and, when none is left, waits only for chunks that a worker
// has already begun; a worker that the system keeps off its core therefore costs nothing but its share of the work.
// (Two threads spinning at OpenMP barriers fell to a tenth of their speed beside one busy neighbour.)
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace tandem {

// Non-owning reference to a callable void(int64_t chunk, int worker); no allocation.
class ChunkBody {
 public:
  template <class F, std::enable_if_t<!std::is_same_v<std::remove_cvref_t<F>, ChunkBody>, int> = 0>
  ChunkBody(F&& body)  // NOLINT(google-explicit-constructor): a call site passes a lambda
      : object_(const_cast<void*>(static_cast<const void*>(&body))), call_([](void* object, int64_t chunk, int worker) {
          (*static_cast<std::remove_reference_t<F>*>(object))(chunk, worker);
        }) {}
  void operator()(int64_t chunk, int worker) const { call_(object_, chunk, worker); }

 private:
  void* object_;
  void (*call_)(void*, int64_t, int);
};

class ThreadPool {
 public:
  // `threads` counts the caller: 1 means that no thread is started.
  explicit ThreadPool(int threads);
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  ~ThreadPool();

  int threads() const { return threads_; }

  // Calls body(chunk, worker) once for every chunk in 0..chunks-1, in any order and on any thread; worker is in
  // 0..threads()-1 and no two chunks run at the same time with one worker. Returns when all are done. The first
  // exception thrown by a chunk is thrown again here. Inside a chunk a nested call runs on the spot.
  // Which chunk runs where is not fixed: results must not depend on it.
  void run(int64_t chunks, const ChunkBody& body);

 private:
  void worker_loop(int worker);
  void take_chunks(int worker);

  int threads_;
  std::vector<std::thread> workers_;
  std::mutex caller_;  // one run() at a time

  // The open job. A worker enters by raising `inside` while `open` is set; the caller closes and waits for zero.
  static constexpr uint64_t kOpen = uint64_t{1} << 32;
  std::atomic<uint64_t> gate_{0};  // bit 32: open; low 32 bits: workers inside
  const ChunkBody* body_ = nullptr;
  int64_t chunks_ = 0;
  std::atomic<int64_t> next_{0};

  std::mutex sleep_;
  std::condition_variable wake_;
  std::atomic<uint64_t> job_{0};
  std::atomic<bool> stop_{false};
  std::atomic<int> sleeping_{0};
  std::exception_ptr failure_;
  std::mutex failure_mutex_;
};

// Cores this process may use (its affinity mask).
int available_cores();

}  // namespace tandem
