// Memory for one step. After the first step an arena holds what a step needs and asks the system for nothing more.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "tensor/tensor.h"

namespace tandem {

// Every block starts at a multiple of this (a cache line, and a whole AVX-512 vector).
inline constexpr size_t kBlockAlignment = 64;

// Hands out memory in order and takes all of it back at once. Holds activations and the records of the tape.
class Arena {
 public:
  Arena() = default;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena();

  // Uninitialised. Valid until reset() or until a Mark taken before it is released.
  void* allocate(size_t bytes);
  Tensor tensor(DType dtype, const Shape& shape) {
    return {allocate(static_cast<size_t>(shape.elements() * dtype_bytes(dtype))), dtype, shape};
  }
  Tensor zeros(DType dtype, const Shape& shape);

  struct Mark {
    size_t chunk = 0;
    size_t used = 0;
  };
  Mark mark() const { return {chunk_, used_}; }
  void release(const Mark& mark) {
    most_used_ = most_used_bytes();
    chunk_ = mark.chunk;
    used_ = mark.used;
  }
  void reset() { release({}); }

  size_t reserved_bytes() const;  // obtained from the system
  size_t used_bytes() const;      // handed out now; ends of chunks that stay empty are not counted
  size_t most_used_bytes() const { return std::max(most_used_, used_bytes()); }  // so far
  int64_t system_allocations() const { return system_allocations_; }

 private:
  struct Chunk {
    std::byte* data;
    size_t size;
    size_t filled;  // when the next chunk was begun
  };
  std::vector<Chunk> chunks_;
  size_t chunk_ = 0;  // the chunk in use
  size_t used_ = 0;   // bytes used in it
  size_t most_used_ = 0;
  int64_t system_allocations_ = 0;
};

// Scratch memory that is given back at the end of a scope.
class ArenaScope {
 public:
  explicit ArenaScope(Arena& arena) : arena_(arena), mark_(arena.mark()) {}
  ArenaScope(const ArenaScope&) = delete;
  ArenaScope& operator=(const ArenaScope&) = delete;
  ~ArenaScope() { arena_.release(mark_); }

 private:
  Arena& arena_;
  Arena::Mark mark_;
};

// Blocks that are given back one by one and reused by the next request of the same size. Holds gradients: the layers
// of a model ask for the same few sizes again and again, and passes of one shape for the same blocks. Passes of ever
// new shapes (rows of conversations) take blocks that are a little larger and were not wanted by the last pass, and the
// rest of those goes back to the system before more is asked of it.
class BlockPool {
 public:
  BlockPool() = default;
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;
  ~BlockPool();

  Tensor take(DType dtype, const Shape& shape);  // uninitialised
  void give_back(const Tensor& t);               // a tensor from take(), once
  void take_all_back();                          // as if every block had been given back; a pass ends
  size_t reserved_bytes() const { return reserved_; }
  int64_t system_allocations() const { return system_allocations_; }

 private:
  struct Block {
    size_t size = 0;
    int64_t last_pass = 0;  // in which it was taken
    bool taken = false;
  };
  bool stale(void* data) const;
  void* reuse(size_t size);  // a free block, taken from the list; null: none fits
  void drop_stale();

  std::map<void*, Block> blocks_;
  std::map<size_t, std::vector<void*>> free_;  // by size
  int64_t pass_ = 0;
  size_t reserved_ = 0;
  int64_t system_allocations_ = 0;
};

// Memory that lives as long as its owner: parameters, optimizer state, caches. Zeroed.
class Storage {
 public:
  Storage() = default;
  Storage(DType dtype, const Shape& shape);
  Storage(Storage&& other) noexcept : tensor_(std::exchange(other.tensor_, {})), size_(std::exchange(other.size_, 0)) {}
  Storage& operator=(Storage&& other) noexcept {
    std::swap(tensor_, other.tensor_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~Storage();
  const Tensor& tensor() const { return tensor_; }

 private:
  Tensor tensor_;
  size_t size_ = 0;
};

}  // namespace tandem
