#include "dist/collectives.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "dist/exchange.h"

namespace tandem {
namespace {

constexpr int kTag = 0;      // and 1
constexpr int kTextTag = 2;  // and 3

template <class T>
void sum_over(Communicator& ranks, std::span<T> values, DType dtype) {
  if (ranks.size() == 1 || values.empty()) return;
  auto n = static_cast<int64_t>(values.size());
  int64_t parts = std::min<int64_t>(n, ranks.size());
  std::vector<Stretch> stretches;
  for (int64_t part = 0; part < parts; ++part) {
    int64_t begin = n * part / parts, end = n * (part + 1) / parts;
    stretches.push_back({Tensor(values.data() + begin, dtype, {end - begin}), static_cast<int>(part)});
  }
  Exchange exchange(ranks, std::move(stretches), ExchangeKind::all_reduce, kTag);
  exchange.start();
  exchange.wait();
}

Stretch text_of(std::string& text, int owner) {
  return {Tensor(text.data(), DType::u8, {static_cast<int64_t>(text.size())}), owner};
}

void gather(Communicator& ranks, std::vector<Stretch> stretches) {
  std::erase_if(stretches, [](const Stretch& s) { return s.values.elements() == 0; });
  Exchange exchange(ranks, std::move(stretches), ExchangeKind::all_gather, kTextTag);
  exchange.start();
  exchange.wait();
}

}  // namespace

void all_reduce(Communicator& ranks, std::span<float> values) { sum_over(ranks, values, DType::f32); }

void all_reduce(Communicator& ranks, std::span<double> values) { sum_over(ranks, values, DType::f64); }

std::vector<std::string> all_gather(Communicator& ranks, const std::string& own) {
  auto all = static_cast<size_t>(ranks.size()), here = static_cast<size_t>(ranks.rank());
  std::vector<int64_t> sizes(all);
  sizes[here] = static_cast<int64_t>(own.size());
  std::vector<Stretch> stretches;
  for (size_t r = 0; r < all; ++r) stretches.push_back({Tensor(&sizes[r], DType::i64, {1}), static_cast<int>(r)});
  gather(ranks, std::move(stretches));
  std::vector<std::string> texts(all);
  stretches.clear();
  for (size_t r = 0; r < all; ++r) {
    texts[r] = r == here ? own : std::string(static_cast<size_t>(sizes[r]), '\0');
    stretches.push_back(text_of(texts[r], static_cast<int>(r)));
  }
  gather(ranks, std::move(stretches));
  return texts;
}

std::string broadcast(Communicator& ranks, const std::string& text, int root) {
  int64_t size = broadcast(ranks, static_cast<int64_t>(text.size()), root);
  std::string copy = ranks.rank() == root ? text : std::string(static_cast<size_t>(size), '\0');
  gather(ranks, {text_of(copy, root)});
  return copy;
}

int64_t broadcast(Communicator& ranks, int64_t value, int root) {
  gather(ranks, {{Tensor(&value, DType::i64, {1}), root}});
  return value;
}

void barrier(Communicator& ranks) { all_gather(ranks, ""); }

}  // namespace tandem
