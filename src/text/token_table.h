// Hash tables that are filled once and then only read: text to id, and pair of ids to merge. Open addressing, at most
// half full, so a search touches one or two cache lines.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

namespace tandem {

inline uint64_t mix_hash(uint64_t h, uint64_t word) {
  h = (h ^ word) * 0x9E3779B97F4A7C15u;
  return h ^ h >> 29;
}

// For tables in memory: fast, and not the same in every version.
inline uint64_t hash_bytes(std::string_view key) {
  uint64_t h = key.size();
  size_t at = 0;
  for (; at + 8 <= key.size(); at += 8) {
    uint64_t word;
    std::memcpy(&word, key.data() + at, 8);
    h = mix_hash(h, word);
  }
  uint64_t rest = 0;
  for (int shift = 0; at < key.size(); ++at, shift += 8) {
    rest |= uint64_t{static_cast<unsigned char>(key[at])} << shift;
  }
  h = mix_hash(h, rest);
  return h ^ h >> 32;
}

// Any bytes to a non-negative id.
class TokenTable {
 public:
  TokenTable() : TokenTable(0) {}
  explicit TokenTable(size_t most) : slots_(std::bit_ceil(most * 2 + 2)) {}

  // Not already present, and at most as many as promised. The bytes are not copied.
  void insert(std::string_view key, int32_t id) {
    uint64_t h = hash_bytes(key);
    size_t at = h & mask();
    while (slots_[at].id >= 0) at = (at + 1) & mask();
    slots_[at] = {key.data(), static_cast<uint32_t>(key.size()), static_cast<uint32_t>(h >> 32), id};
  }
  // -1 when the key is not there.
  int32_t find(std::string_view key) const { return find(key, hash_bytes(key)); }
  // With the key's hash_bytes.
  int32_t find(std::string_view key, uint64_t h) const {
    for (size_t at = h & mask();; at = (at + 1) & mask()) {
      const Slot& slot = slots_[at];
      if (slot.id < 0) return -1;
      if (slot.tag == static_cast<uint32_t>(h >> 32) && slot.size == key.size() &&
          std::memcmp(slot.data, key.data(), key.size()) == 0) {
        return slot.id;
      }
    }
  }

 private:
  struct Slot {
    const char* data = nullptr;
    uint32_t size = 0;
    uint32_t tag = 0;
    int32_t id = -1;
  };

  size_t mask() const { return slots_.size() - 1; }
  std::vector<Slot> slots_;
};

struct Merge {
  uint32_t rank = UINT32_MAX;  // UINT32_MAX: the pair does not merge
  int32_t id = -1;             // what the pair becomes
};

// Pair of non-negative ids to its merge.
class MergeTable {
 public:
  MergeTable() : MergeTable(0) {}
  explicit MergeTable(size_t most) : slots_(std::bit_ceil(most * 2 + 2)) {}

  // A pair given again replaces the earlier merge.
  void insert(int32_t left, int32_t right, const Merge& merge) {
    uint64_t key = key_of(left, right);
    size_t at = start(key);
    while (slots_[at].key != kEmpty && slots_[at].key != key) at = (at + 1) & mask();
    slots_[at] = {key, merge};
  }
  Merge find(int32_t left, int32_t right) const {
    uint64_t key = key_of(left, right);
    for (size_t at = start(key);; at = (at + 1) & mask()) {
      if (slots_[at].key == key) return slots_[at].merge;
      if (slots_[at].key == kEmpty) return {};
    }
  }

 private:
  static constexpr uint64_t kEmpty = UINT64_MAX;
  struct Slot {
    uint64_t key = kEmpty;
    Merge merge;
  };
  size_t mask() const { return slots_.size() - 1; }
  static uint64_t key_of(int32_t left, int32_t right) {
    return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
  }
  size_t start(uint64_t key) const {
    uint64_t h = key * 0x9E3779B97F4A7C15u;
    return (h ^ h >> 32) & mask();
  }

  std::vector<Slot> slots_;
};

}  // namespace tandem
