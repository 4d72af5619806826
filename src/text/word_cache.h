// What words became, for a thread that encodes many texts: most words of a text have been met before. A table of fixed
// size in which a new word takes the place of another; a hit touches one cache line.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

namespace tandem {

class WordCache {
 public:
  static constexpr size_t kMostBytes = 30;  // longer words are not kept
  static constexpr size_t kMostIds = 7;     // nor those that become more ids

  WordCache() : slots_(kSlots) {}

  // Appends the ids of a word that it remembers; false when it does not.
  bool append(std::string_view word, uint64_t hash, std::vector<int32_t>& ids) const {
    const Slot& slot = slots_[hash % kSlots];
    if (slot.bytes != word.size() || slot.tag != tag_of(hash) ||
        std::memcmp(slot.text.data(), word.data(), word.size()) != 0) {
      return false;
    }
    ids.insert(ids.end(), slot.ids.begin(), slot.ids.begin() + slot.count);
    return true;
  }

  // `word` has 1 to kMostBytes bytes.
  void remember(std::string_view word, uint64_t hash, std::span<const int32_t> ids) {
    if (ids.size() > kMostIds) return;
    Slot& slot = slots_[hash % kSlots];
    slot.tag = tag_of(hash);
    slot.bytes = static_cast<uint8_t>(word.size());
    slot.count = static_cast<uint8_t>(ids.size());
    std::memcpy(slot.text.data(), word.data(), word.size());
    std::copy(ids.begin(), ids.end(), slot.ids.begin());
  }

 private:
  static constexpr size_t kSlots = size_t{1} << 15;  // 2 MiB: the level-2 cache of a core

  struct alignas(64) Slot {
    uint32_t tag = 0;
    uint8_t bytes = 0;  // 0: empty
    uint8_t count = 0;
    std::array<char, kMostBytes> text;
    std::array<int32_t, kMostIds> ids;
  };
  static_assert(sizeof(Slot) == 64);
  static uint32_t tag_of(uint64_t hash) { return static_cast<uint32_t>(hash >> 32); }

  std::vector<Slot> slots_;
};

}  // namespace tandem
