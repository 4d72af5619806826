// A 64-bit hash of bytes, the same on every machine: names caches, finds damaged shards, chooses held-out documents. It
// is not meant to withstand an adversary.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace tandem {

// The result depends on the bytes only, not on how they were cut into pieces.
class Hash64 {
 public:
  void add(const void* data, size_t bytes);
  void add(std::string_view text) { add(text.data(), text.size()); }
  // Adds a length and the bytes, so that ("ab", "c") and ("a", "bc") differ.
  void add_sized(std::string_view text);
  void add_number(uint64_t value) { add(&value, sizeof value); }
  uint64_t value() const;

 private:
  void mix(uint64_t word);

  uint64_t state_ = 0x243F6A8885A308D3;  // the first 64 binary digits of pi's fraction
  uint64_t length_ = 0;
  unsigned char pending_[8] = {};  // length_ % 8 bytes that do not fill a word yet
};

uint64_t hash64(std::string_view text);

// 16 hexadecimal digits.
std::string hex64(uint64_t value);

}  // namespace tandem
