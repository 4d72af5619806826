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
  for (auto& [data, size] : all_) ::munmap(data, size);
}

Tensor BlockPool::take(DType dtype, const Shape& shape) {
  size_t wanted = static_cast<size_t>(shape.elements() * dtype_bytes(dtype));
  size_t size = round_up(std::max<size_t>(wanted, 1), 4096);
  std::vector<void*>& free = free_[size];
  if (free.empty()) {
    void* p = map_pages(size);
    all_.emplace_back(p, size);
    free.reserve(all_.size());
    reserved_ += size;
    ++system_allocations_;
    return {p, dtype, shape};
  }
  void* p = free.back();
  free.pop_back();
  return {p, dtype, shape};
}

void BlockPool::give_back(const Tensor& t) {
  size_t size = round_up(std::max<size_t>(static_cast<size_t>(t.bytes()), 1), 4096);
  free_[size].push_back(t.data);
}

void BlockPool::take_all_back() {
  for (auto& [size, blocks] : free_) blocks.clear();
  for (auto& [data, size] : all_) free_[size].push_back(data);
}

Storage::Storage(DType dtype, const Shape& shape) {
  size_ = round_up(std::max<size_t>(static_cast<size_t>(shape.elements() * dtype_bytes(dtype)), 1), 4096);
  tensor_ = Tensor(map_pages(size_), dtype, shape);
}

Storage::~Storage() {
  if (tensor_.data) ::munmap(tensor_.data, size_);
}

}  // namespace tandem
