#include "arch/numpy_rng.h"

#include <algorithm>
#include <array>

namespace tandem {
namespace {

Uint128 wide(uint64_t high, uint64_t low) { return (static_cast<Uint128>(high) << 64) | low; }

constexpr uint64_t kMultiplierHigh = 2549297995355413924u, kMultiplierLow = 4865540595714422341u;

// The pool of a SeedSequence of one word of entropy (O'Neill's seed_seq_fe, with four words).
class SeedSequence {
 public:
  explicit SeedSequence(uint32_t entropy) {
    uint32_t hash = 0x43b0d7e5;
    for (size_t i = 0; i < pool_.size(); ++i) pool_[i] = mixed_in(i == 0 ? entropy : 0, hash);
    for (size_t from = 0; from < pool_.size(); ++from) {
      for (size_t to = 0; to < pool_.size(); ++to) {
        if (from != to) pool_[to] = merged(pool_[to], mixed_in(pool_[from], hash));
      }
    }
  }
  std::array<uint64_t, 4> words() const {
    std::array<uint64_t, 4> out{};
    uint32_t hash = 0x8b51f9dd;
    for (size_t i = 0; i < 2 * out.size(); ++i) {
      uint32_t word = pool_[i % pool_.size()] ^ hash;
      hash *= 0x58f38ded;
      word *= hash;
      word ^= word >> 16;
      out[i / 2] |= static_cast<uint64_t>(word) << (32 * (i % 2));
    }
    return out;
  }

 private:
  static uint32_t mixed_in(uint32_t value, uint32_t& hash) {
    value ^= hash;
    hash *= 0x931e8875;
    value *= hash;
    return value ^ (value >> 16);
  }
  static uint32_t merged(uint32_t x, uint32_t y) {
    uint32_t result = x * 0xca01f9dd - y * 0x4973f715;
    return result ^ (result >> 16);
  }

  std::array<uint32_t, 4> pool_{};
};

}  // namespace

NumpyRng::NumpyRng(uint32_t seed) {
  std::array<uint64_t, 4> words = SeedSequence(seed).words();
  const Uint128 multiplier = wide(kMultiplierHigh, kMultiplierLow);
  increment_ = (wide(words[2], words[3]) << 1) | 1;
  state_ = (increment_ + wide(words[0], words[1])) * multiplier + increment_;
}

uint64_t NumpyRng::next64() {
  state_ = state_ * wide(kMultiplierHigh, kMultiplierLow) + increment_;
  auto folded = static_cast<uint64_t>(state_ >> 64) ^ static_cast<uint64_t>(state_);
  auto turn = static_cast<uint32_t>(state_ >> 122);
  return (folded >> turn) | (folded << ((64 - turn) % 64));
}

uint32_t NumpyRng::next32() {
  if (has_half_) {
    has_half_ = false;
    return half_;
  }
  uint64_t word = next64();
  has_half_ = true;
  half_ = static_cast<uint32_t>(word >> 32);
  return static_cast<uint32_t>(word);
}

uint32_t NumpyRng::below(uint32_t bound) {
  if (bound <= 1) return 0;
  uint64_t product = static_cast<uint64_t>(next32()) * bound;
  uint32_t threshold = (0u - bound) % bound;
  while (static_cast<uint32_t>(product) < threshold) product = static_cast<uint64_t>(next32()) * bound;
  return static_cast<uint32_t>(product >> 32);
}

std::vector<int32_t> NumpyRng::choose(int32_t begin, int32_t end, int32_t count) {
  std::vector<int32_t> chosen;
  for (int32_t last = end - begin - count; last < end - begin; ++last) {
    auto number = begin + static_cast<int32_t>(below(static_cast<uint32_t>(last) + 1));
    bool taken = std::find(chosen.begin(), chosen.end(), number) != chosen.end();
    chosen.push_back(taken ? begin + last : number);
  }
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

}  // namespace tandem
