#include "data/permutation.h"

#include <bit>

#include "base/rng.h"

namespace tandem {
namespace {

constexpr uint32_t kRounds = 8;

}  // namespace

Permutation::Permutation(uint64_t size, uint64_t seed, uint64_t stream)
    : size_(size), seed_(seed), stream_(stream), half_bits_(1) {
  if (size > 1) half_bits_ = (std::bit_width(size - 1) + 1) / 2;
}

uint64_t Permutation::step(uint64_t value) const {
  uint64_t mask = (uint64_t{1} << half_bits_) - 1;
  uint64_t left = value >> half_bits_, right = value & mask;
  for (uint32_t round = 0; round < kRounds; ++round) {
    // Half of a 64-bit value: `right` has 32 bits at most.
    uint64_t mixed = philox(
        {static_cast<uint32_t>(right), round, static_cast<uint32_t>(stream_), static_cast<uint32_t>(stream_ >> 32)},
        {static_cast<uint32_t>(seed_), static_cast<uint32_t>(seed_ >> 32)})[0];
    uint64_t next = left ^ (mixed & mask);
    left = right;
    right = next;
  }
  return left << half_bits_ | right;
}

uint64_t Permutation::operator()(uint64_t index) const {
  do index = step(index);
  while (index >= size_);
  return index;
}

}  // namespace tandem
