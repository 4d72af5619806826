// Counter-based random numbers: Philox 4x32 with 10 rounds (Salmon et al., "Parallel random numbers: as easy as
// 1, 2, 3", SC11). A stream is named by (seed, stream); its state is one counter, so a checkpoint stores three
// integers.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>

namespace tandem {

inline std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    uint64_t a = uint64_t{0xD2511F53} * counter[0];
    uint64_t b = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(a)};
    key = {key[0] + 0x9E3779B9u, key[1] + 0xBB67AE85u};
  }
  return counter;
}

class Rng {
 public:
  struct State {
    uint64_t seed = 0;
    uint64_t stream = 0;
    uint64_t position = 0;  // 32-bit words drawn so far
  };

  Rng(uint64_t seed, uint64_t stream) : state_{seed, stream, 0} {}
  explicit Rng(const State& state) : state_(state) {}

  const State& state() const { return state_; }

  uint32_t next() {
    uint64_t block = state_.position / 4;
    std::array<uint32_t, 4> words =
        philox({static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32), static_cast<uint32_t>(state_.stream),
                static_cast<uint32_t>(state_.stream >> 32)},
               {static_cast<uint32_t>(state_.seed), static_cast<uint32_t>(state_.seed >> 32)});
    return words[state_.position++ % 4];
  }

  // Uniform in [0, 1) with 32 random bits.
  double uniform() { return next() * 0x1p-32; }

  // Uniform in 0..n-1 without bias (Lemire 2019). n >= 1.
  uint32_t below(uint32_t n) {
    uint64_t product = uint64_t{next()} * n;
    uint32_t low = static_cast<uint32_t>(product);
    if (low < n) {
      uint32_t threshold = (0u - n) % n;
      while (low < threshold) {
        product = uint64_t{next()} * n;
        low = static_cast<uint32_t>(product);
      }
    }
    return static_cast<uint32_t>(product >> 32);
  }

  // Standard normal (Box-Muller; one of the two values is dropped so that the state stays one counter).
  double normal() {
    double u = (next() + 0.5) * 0x1p-32;
    double v = uniform();
    return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * v);
  }

 private:
  State state_;
};

}  // namespace tandem
