#include "base/hash.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>

namespace tandem {
namespace {

static_assert(std::endian::native == std::endian::little, "words are read in the order of the bytes");

// The finaliser of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014):
// every input bit reaches every output bit.
uint64_t spread(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

}  // namespace

void Hash64::mix(uint64_t word) { state_ = spread(std::rotl(state_, 23) ^ word) + 0x9E3779B97F4A7C15; }

void Hash64::add(const void* data, size_t bytes) {
  if (bytes == 0) return;
  const auto* at = static_cast<const unsigned char*>(data);
  size_t held = length_ % 8;
  length_ += bytes;
  if (held > 0) {
    size_t taken = std::min(bytes, 8 - held);
    std::memcpy(pending_ + held, at, taken);
    at += taken;
    bytes -= taken;
    if (held + taken < 8) return;
    uint64_t word;
    std::memcpy(&word, pending_, 8);
    mix(word);
  }
  for (; bytes >= 8; at += 8, bytes -= 8) {
    uint64_t word;
    std::memcpy(&word, at, 8);
    mix(word);
  }
  if (bytes > 0) std::memcpy(pending_, at, bytes);
}

void Hash64::add_sized(std::string_view text) {
  add_number(text.size());
  add(text);
}

uint64_t Hash64::value() const {
  uint64_t last = 0;
  std::memcpy(&last, pending_, length_ % 8);
  return spread(spread(state_ ^ last) ^ length_);
}

uint64_t hash64(std::string_view text) {
  Hash64 hash;
  hash.add(text);
  return hash.value();
}

std::string hex64(uint64_t value) { return fmt::format("{:016x}", value); }

}  // namespace tandem
