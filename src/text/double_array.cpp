#include "text/double_array.h"

#include <algorithm>
#include <utility>

namespace tandem {

// Places the nodes breadth first: a range of sorted strings that agree in their first `depth` bytes is a node.
class DoubleArray::Builder {
 public:
  using Entry = std::pair<std::string_view, int32_t>;

  Builder(std::vector<Entry> entries, std::vector<Unit>& units) : entries_(std::move(entries)), units_(units) {
    std::stable_sort(entries_.begin(), entries_.end(),
                     [](const Entry& a, const Entry& b) { return a.first < b.first; });
  }

  void run() {
    units_.assign(512, {});
    used_.assign(512, false);
    used_[kRoot] = true;
    std::vector<Node> level{{kRoot, 0, entries_.size()}};
    for (size_t depth = 0; !level.empty(); ++depth) {
      std::vector<Node> next;
      for (const Node& node : level) place_children(node, depth, next);
      level = std::move(next);
    }
  }

 private:
  struct Node {
    uint32_t at;
    size_t begin, end;  // of entries_
  };

  static unsigned char byte_at(const Entry& entry, size_t depth) {
    return static_cast<unsigned char>(entry.first[depth]);
  }

  void place_children(const Node& node, size_t depth, std::vector<Node>& children) {
    size_t first = node.begin;
    while (first < node.end && entries_[first].first.size() == depth) ++first;  // strings that end here
    if (first > node.begin && depth > 0) units_[node.at].value = entries_[node.begin].second;
    if (first == node.end) return;
    labels_.clear();
    for (size_t i = first; i < node.end; ++i) {
      if (labels_.empty() || labels_.back() != byte_at(entries_[i], depth))
        labels_.push_back(byte_at(entries_[i], depth));
    }
    uint32_t base = find_base();
    units_[node.at].base = base;
    for (unsigned char label : labels_) {
      uint32_t at = base + label;
      used_[at] = true;
      units_[at].parent = node.at;
      size_t end = first;
      while (end < node.end && byte_at(entries_[end], depth) == label) ++end;
      children.push_back({at, first, end});
      first = end;
    }
  }

  // The first place where all labels fall on free units. Crowded beginnings are not searched again.
  uint32_t find_base() {
    while (used_[first_free_]) ++first_free_;
    size_t tried = 0;
    for (uint32_t at = std::max<uint32_t>(first_free_, labels_[0] + 1u);; ++at) {
      uint32_t base = at - labels_[0];
      make_room(base);
      if (used_[at]) continue;
      bool fits =
          std::none_of(labels_.begin(), labels_.end(), [&](unsigned char label) { return used_[base + label]; });
      if (fits) return base;
      constexpr size_t kMostTries = 1024;
      if (++tried == kMostTries) first_free_ = at;
    }
  }

  void make_room(uint32_t base) {
    if (base + 256u < units_.size() - 256u) return;
    size_t size = (units_.size() + 256) * 3 / 2;
    units_.resize(size);
    used_.resize(size);
  }

  std::vector<Entry> entries_;
  std::vector<Unit>& units_;
  std::vector<bool> used_;
  std::vector<unsigned char> labels_;
  uint32_t first_free_ = 1;
};

DoubleArray::DoubleArray(std::span<const std::string> keys) {
  std::vector<Builder::Entry> entries;
  for (size_t i = 0; i < keys.size(); ++i) entries.emplace_back(keys[i], static_cast<int32_t>(i));
  Builder(std::move(entries), units_).run();
}

DoubleArray::DoubleArray(const std::vector<std::string_view>& keys, const std::vector<int32_t>& values) {
  std::vector<Builder::Entry> entries;
  for (size_t i = 0; i < keys.size(); ++i) entries.emplace_back(keys[i], values[i]);
  Builder(std::move(entries), units_).run();
}

}  // namespace tandem
