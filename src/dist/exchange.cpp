#include "dist/exchange.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/clock.h"
#include "base/error.h"

namespace tandem {
namespace {

// Values that are added up at a time, in a buffer that stays in the first cache.
constexpr size_t kBlock = 1024;

size_t bytes_of(const Stretch& s) { return static_cast<size_t>(s.values.bytes()); }

std::span<std::byte> memory_of(const Stretch& s) { return {static_cast<std::byte*>(s.values.data), bytes_of(s)}; }

template <class T>
void add_block(std::array<T, kBlock>& sum, const T* x, size_t n) {
  if (n == kBlock) {
    for (size_t i = 0; i < kBlock; ++i) sum[i] += x[i];
  } else {
    for (size_t i = 0; i < n; ++i) sum[i] += x[i];
  }
}

// own = part(0) + part(1) + ..., from the left; part(rank) is `own` itself.
template <class T>
void add_in_order(T* own, const std::byte* others, size_t n, int rank, int size) {
  auto part = [&](int from) {
    if (from == rank) return static_cast<const T*>(own);
    return reinterpret_cast<const T*>(others) + static_cast<size_t>(from < rank ? from : from - 1) * n;
  };
  std::array<T, kBlock> sum;
  for (size_t begin = 0; begin < n; begin += kBlock) {
    size_t count = std::min(kBlock, n - begin);
    std::memcpy(sum.data(), part(0) + begin, count * sizeof(T));
    for (int from = 1; from < size; ++from) add_block(sum, part(from) + begin, count);
    std::memcpy(own + begin, sum.data(), count * sizeof(T));
  }
}

void check(const Stretch& s, ExchangeKind kind, int size) {
  bool sums = kind != ExchangeKind::all_gather;
  bool good = s.values.contiguous() && s.owner >= 0 && s.owner < size &&
              (!sums || s.values.dtype == DType::f32 || s.values.dtype == DType::f64);
  if (!good) throw LogicError({.what = "exchange: a stretch that can't be exchanged", .got = s.values.shape.text()});
}

// In pieces that fit into a message.
void append_cut(std::vector<Stretch>& list, const Stretch& s) {
  int64_t width = dtype_bytes(s.values.dtype), all = s.values.elements();
  int64_t most = static_cast<int64_t>(Communicator::kMostBytes) / width;
  for (int64_t begin = 0; begin < all; begin += most) {
    auto* data = static_cast<std::byte*>(s.values.data) + begin * width;
    list.push_back({Tensor(data, s.values.dtype, {std::min(most, all - begin)}), s.owner});
  }
}

}  // namespace

Exchange::Exchange(Communicator& ranks, std::vector<Stretch> stretches, ExchangeKind kind, int tag)
    : ranks_(ranks), kind_(kind), tag_(tag) {
  for (const Stretch& s : stretches) {
    check(s, kind, ranks.size());
    append_cut(stretches_, s);
  }
  arrived_.resize(static_cast<size_t>(buffer_bytes()));
}

int64_t Exchange::buffer_bytes() const {
  int64_t bytes = 0;
  for (const Stretch& s : stretches_) {
    bool receives = kind_ != ExchangeKind::all_gather && s.owner == ranks_.rank();
    if (receives) bytes += s.values.bytes() * (ranks_.size() - 1);
  }
  return bytes;
}

void Exchange::start() {
  if (running()) throw LogicError({.what = "exchange: started twice"});
  if (ranks_.size() == 1) return;
  if (kind_ == ExchangeKind::all_gather) {
    start_gather();
  } else {
    start_reduce();
  }
}

void Exchange::start_reduce() {
  stage_ = Stage::reduce;
  std::byte* place = arrived_.data();
  for (const Stretch& s : stretches_) {
    if (s.owner != ranks_.rank()) {
      requests_.push_back(ranks_.send(s.owner, tag_, memory_of(s)));
      continue;
    }
    for (int from = 0; from < ranks_.size(); ++from) {
      if (from == s.owner) continue;
      requests_.push_back(ranks_.receive(from, tag_, {place, bytes_of(s)}));
      place += bytes_of(s);
    }
  }
}

void Exchange::add_up() {
  const std::byte* place = arrived_.data();
  for (const Stretch& s : stretches_) {
    if (s.owner != ranks_.rank()) continue;
    auto n = static_cast<size_t>(s.values.elements());
    if (s.values.dtype == DType::f32) {
      add_in_order(s.values.as<float>(), place, n, ranks_.rank(), ranks_.size());
    } else {
      add_in_order(s.values.as<double>(), place, n, ranks_.rank(), ranks_.size());
    }
    place += bytes_of(s) * static_cast<size_t>(ranks_.size() - 1);
  }
}

void Exchange::start_gather() {
  stage_ = Stage::gather;
  for (const Stretch& s : stretches_) {
    if (s.owner != ranks_.rank()) {
      requests_.push_back(ranks_.receive(s.owner, tag_ + 1, memory_of(s)));
      continue;
    }
    for (int to = 0; to < ranks_.size(); ++to) {
      if (to != s.owner) requests_.push_back(ranks_.send(to, tag_ + 1, memory_of(s)));
    }
  }
}

bool Exchange::all_arrived() {
  std::erase_if(requests_, [&](Communicator::Request request) { return ranks_.test(request); });
  return requests_.empty();
}

bool Exchange::progress() {
  while (running() && all_arrived()) {
    bool more = stage_ == Stage::reduce && kind_ == ExchangeKind::all_reduce;
    if (stage_ == Stage::reduce) add_up();
    stage_ = Stage::idle;
    if (more) start_gather();
  }
  return !running();
}

void Exchange::wait() {
  if (!running()) return;
  Stopwatch watch;
  Patience patience;
  while (!progress()) patience.pause();
  ranks_.count_wait(watch.seconds());
}

}  // namespace tandem
