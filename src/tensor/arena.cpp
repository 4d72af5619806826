#include "tensor/arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace tandem {
namespace {

constexpr size_t kSmallestChunk = size_t{16} << 20;
constexpr size_t kHugePage = size_t{2} << 20;

size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

// Zeroed pages. Large blocks ask for huge pages: fewer page faults and TLB misses.
void* map_pages(size_t bytes) {
  void* p = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) {
    throw JobError({.what = "out of memory",
                    .got = std::strerror(errno),
                    .expected = fmt::format("{} MiB more", bytes >> 20),
                    .hint = "use a smaller micro_batch, row length or model"});
  }
  if (bytes >= kHugePage) ::madvise(p, bytes, MADV_HUGEPAGE);
  return p;
}

}  // namespace

Arena::~Arena() {
  for (const Chunk& chunk : chunks_) ::munmap(chunk.data, chunk.size);
}

void* Arena::allocate(size_t bytes) {
  bytes = round_up(std::max<size_t>(bytes, 1), kBlockAlignment);
  while (chunk_ < chunks_.size() && used_ + bytes > chunks_[chunk_].size) {
    chunks_[chunk_].filled = used_;
    ++chunk_;
    used_ = 0;
  }
  if (chunk_ == chunks_.size()) {
    size_t size = round_up(std::max(bytes, kSmallestChunk), kHugePage);
    chunks_.push_back({static_cast<std::byte*>(map_pages(size)), size, 0});
    ++system_allocations_;
    used_ = 0;
  }
  void* p = chunks_[chunk_].data + used_;
  used_ += bytes;
  return p;
}

Tensor Arena::zeros(DType dtype, const Shape& shape) {
  Tensor t = tensor(dtype, shape);
  std::memset(t.data, 0, static_cast<size_t>(t.bytes()));
  return t;
}

size_t Arena::reserved_bytes() const {
  size_t total = 0;
  for (const Chunk& chunk : chunks_) total += chunk.size;
  return total;
}

size_t Arena::used_bytes() const {
  size_t total = used_;
  for (size_t i = 0; i < chunk_; ++i) total += chunks_[i].filled;
  return total;
}

BlockPool::~BlockPool() {
  for (auto& [data, block] : blocks_) ::munmap(data, block.size);
}

// Wanted neither by this pass nor by the one before.
bool BlockPool::stale(void* data) const { return blocks_.at(data).last_pass + 1 < pass_; }

// A block of the size itself, or a stale one that is up to a quarter larger: the others are left to the requests of
// their own size, so that passes of one shape never need a new block because another request came first.
void* BlockPool::reuse(size_t size) {
  for (auto entry = free_.lower_bound(size); entry != free_.end() && entry->first <= size + size / 4; ++entry) {
    std::vector<void*>& free = entry->second;
    if (free.empty() || (entry->first != size && !stale(free.back()))) continue;
    void* data = free.back();
    free.pop_back();
    return data;
  }
  return nullptr;
}

void BlockPool::drop_stale() {
  for (auto& [size, free] : free_) {
    std::erase_if(free, [&](void* data) {
      if (!stale(data)) return false;
      auto block = blocks_.find(data);
      ::munmap(data, block->second.size);
      reserved_ -= block->second.size;
      blocks_.erase(block);
      return true;
    });
  }
  std::erase_if(free_, [](const auto& entry) { return entry.second.empty(); });
}

Tensor BlockPool::take(DType dtype, const Shape& shape) {
  size_t wanted = static_cast<size_t>(shape.elements() * dtype_bytes(dtype));
  size_t size = round_up(std::max<size_t>(wanted, 1), 4096);
  void* data = reuse(size);
  if (!data) {
    drop_stale();
    data = map_pages(size);
    blocks_[data] = {.size = size};
    reserved_ += size;
    ++system_allocations_;
  }
  Block& block = blocks_[data];
  block.last_pass = pass_;
  block.taken = true;
  return {data, dtype, shape};
}

void BlockPool::give_back(const Tensor& t) {
  Block& block = blocks_[t.data];
  block.taken = false;
  free_[block.size].push_back(t.data);
}

void BlockPool::take_all_back() {
  for (auto& [data, block] : blocks_) {
    if (!block.taken) continue;
    block.taken = false;
    free_[block.size].push_back(data);
  }
  ++pass_;
}

Storage::Storage(DType dtype, const Shape& shape) {
  size_ = round_up(std::max<size_t>(static_cast<size_t>(shape.elements() * dtype_bytes(dtype)), 1), 4096);
  tensor_ = Tensor(map_pages(size_), dtype, shape);
}

Storage::~Storage() {
  if (tensor_.data) ::munmap(tensor_.data, size_);
}

}  // namespace tandem
