// A set of byte strings as a trie in two arrays (Aoe 1989, "An Efficient Digital Search Algorithm by Using a
// Double-Array Structure"): one step costs one look into the table. Made once and then only read.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tandem {

class DoubleArray {
 public:
  static constexpr uint32_t kRoot = 0;
  static constexpr uint32_t kNowhere = UINT32_MAX;

  DoubleArray() : units_(256) {}
  // The strings and what each stands for (0 or more). Empty strings are left out; of equal strings the first counts.
  explicit DoubleArray(std::span<const std::string> keys);
  DoubleArray(const std::vector<std::string_view>& keys, const std::vector<int32_t>& values);

  // The node behind `byte`, kNowhere when no string goes on like this.
  uint32_t step(uint32_t node, unsigned char byte) const {
    uint32_t to = units_[node].base + byte;
    return units_[to].parent == node ? to : kNowhere;
  }
  // What the string that ends at this node stands for; -1 when none does.
  int32_t value(uint32_t node) const { return units_[node].value; }

 private:
  // Children of a node lie at base + byte. `parent` of a free unit is kNowhere.
  struct Unit {
    uint32_t base = 0;
    uint32_t parent = kNowhere;
    int32_t value = -1;
  };
  class Builder;

  std::vector<Unit> units_;  // always 256 more than the largest base, so that step() stays inside
};

}  // namespace tandem
