#include "infer/token_trie.h"

#include <algorithm>
#include <numeric>

namespace tandem {

TokenTrie::TokenTrie(const std::vector<std::string>& tokens) {
  std::vector<int32_t> order(tokens.size());
  std::iota(order.begin(), order.end(), 0);
  auto text = [&](int32_t id) -> const std::string& { return tokens[static_cast<size_t>(id)]; };
  std::erase_if(order, [&](int32_t id) { return text(id).empty(); });
  std::sort(order.begin(), order.end(),
            [&](int32_t a, int32_t b) { return text(a) != text(b) ? text(a) < text(b) : a < b; });
  std::vector<int32_t> path;  // nodes of the last token
  const std::string* last = nullptr;
  auto close = [&](size_t depth) {
    for (; path.size() > depth; path.pop_back()) {
      nodes_[static_cast<size_t>(path.back())].end = static_cast<int32_t>(nodes_.size());
    }
  };
  for (int32_t id : order) {
    const std::string& bytes = text(id);
    size_t common = 0;
    if (last != nullptr) {
      common = static_cast<size_t>(std::mismatch(bytes.begin(), bytes.end(), last->begin(), last->end()).first -
                                   bytes.begin());
    }
    close(common);
    for (size_t i = common; i < bytes.size(); ++i) {
      path.push_back(static_cast<int32_t>(nodes_.size()));
      nodes_.push_back(
          {0, static_cast<int32_t>(tokens_.size()), static_cast<int32_t>(i), static_cast<uint8_t>(bytes[i])});
    }
    tokens_.push_back(id);
    longest_ = std::max(longest_, bytes.size());
    last = &bytes;
  }
  close(0);
  nodes_.push_back({0, static_cast<int32_t>(tokens_.size()), 0, 0});  // ends the tokens of the last node
}

void TokenTrie::allow(Matcher& matcher, Matcher::State state, std::span<uint64_t> bits) const {
  std::vector<Matcher::State> states(longest_ + 1);  // before the byte of a depth
  states[0] = state;
  for (size_t i = 0; i + 1 < nodes_.size();) {
    const Node& node = nodes_[i];
    auto depth = static_cast<size_t>(node.depth);
    Matcher::State next = matcher.step(states[depth], node.byte);
    if (next == Matcher::kDead) {
      i = static_cast<size_t>(node.end);
      continue;
    }
    states[depth + 1] = next;
    ++i;
    for (int32_t t = node.first_token; t < nodes_[i].first_token; ++t) {
      auto id = static_cast<size_t>(tokens_[static_cast<size_t>(t)]);
      bits[id / 64] |= uint64_t{1} << id % 64;
    }
  }
}

}  // namespace tandem
