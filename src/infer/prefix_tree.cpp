#include "infer/prefix_tree.h"

#include <algorithm>

namespace tandem {

PrefixTree::PrefixTree() : root_(std::make_unique<Node>()) {}

PrefixTree::Walk PrefixTree::walk(std::span<const int32_t> ids) const {
  Walk at{root_.get(), 0, 0};
  while (at.tokens < ids.size()) {
    auto child = at.node->children.find(ids[at.tokens]);
    if (child == at.node->children.end()) break;
    at.node = child->second.get();
    const std::vector<int32_t>& own = at.node->ids;
    auto rest = ids.subspan(at.tokens);
    at.inside =
        static_cast<size_t>(std::mismatch(own.begin(), own.end(), rest.begin(), rest.end()).first - own.begin());
    at.tokens += at.inside;
    if (at.inside < own.size()) break;
  }
  return at;
}

PrefixTree::Match PrefixTree::find(std::span<const int32_t> ids) {
  Walk at = walk(ids);
  if (at.tokens == 0) return {};
  // Every leaf has a state, and a state below has read what leads here.
  Node* with_state = at.node;
  while (!with_state->state) with_state = with_state->children.begin()->second.get();
  std::unique_ptr<State> state = with_state->state->fork();
  if (state->keep_read(static_cast<int64_t>(at.tokens))) {
    use(*with_state);
    return {std::move(state), static_cast<int64_t>(at.tokens)};
  }
  return find_whole(at);
}

// Where the middle of what was read is no state of its own: the longest sequence with a state that the ids go on from.
PrefixTree::Match PrefixTree::find_whole(const Walk& at) {
  size_t tokens = at.tokens;
  Node* node = at.node;
  if (at.inside < node->ids.size()) {
    tokens -= at.inside;
    node = node->parent;
  }
  for (; node->parent; tokens -= node->ids.size(), node = node->parent) {
    if (!node->state) continue;
    std::unique_ptr<State> state = node->state->fork();
    if (!state->keep_read(static_cast<int64_t>(tokens))) continue;
    use(*node);
    return {std::move(state), static_cast<int64_t>(tokens)};
  }
  return {};
}

void PrefixTree::split(Node& node, size_t at) {
  auto upper = std::make_unique<Node>();
  upper->ids.assign(node.ids.begin(), node.ids.begin() + static_cast<std::ptrdiff_t>(at));
  upper->parent = node.parent;
  std::unique_ptr<Node>& slot = node.parent->children[node.ids.front()];
  std::unique_ptr<Node> lower = std::move(slot);
  lower->ids.erase(lower->ids.begin(), lower->ids.begin() + static_cast<std::ptrdiff_t>(at));
  lower->parent = upper.get();
  upper->children[lower->ids.front()] = std::move(lower);
  slot = std::move(upper);
}

void PrefixTree::insert(std::span<const int32_t> ids, std::unique_ptr<State> state) {
  Walk at = walk(ids);
  Node* node = at.node;
  if (node->parent && at.inside < node->ids.size()) {
    split(*node, at.inside);
    node = node->parent;
  }
  if (at.tokens < ids.size()) {
    auto child = std::make_unique<Node>();
    child->ids.assign(ids.begin() + static_cast<std::ptrdiff_t>(at.tokens), ids.end());
    child->parent = node;
    node = (node->children[child->ids.front()] = std::move(child)).get();
  }
  if (!node->state) {
    recent_.push_front(node);
    node->place = recent_.begin();
  }
  node->state = std::move(state);
  node->state->rest();
  use(*node);
}

std::vector<int32_t> PrefixTree::ids_of(const Node& node) {
  std::vector<const Node*> way;
  for (const Node* at = &node; at; at = at->parent) way.push_back(at);
  std::vector<int32_t> ids;
  for (size_t i = way.size(); i-- > 0;) ids.insert(ids.end(), way[i]->ids.begin(), way[i]->ids.end());
  return ids;
}

bool PrefixTree::served_below(const Node& node, int64_t tokens) {
  return std::any_of(node.children.begin(), node.children.end(), [&](const auto& child) {
    const Node* at = child.second.get();
    while (!at->state) at = at->children.begin()->second.get();
    return at->state->fork()->keep_read(tokens);
  });
}

void PrefixTree::each_latest_first(const std::function<bool(std::span<const int32_t> ids, State& state)>& visit) const {
  for (const Node* node : recent_) {
    std::vector<int32_t> ids = ids_of(*node);
    if (!served_below(*node, static_cast<int64_t>(ids.size())) && !visit(ids, *node->state)) return;
  }
}

void PrefixTree::use(Node& node) { recent_.splice(recent_.begin(), recent_, node.place); }

bool PrefixTree::evict() {
  if (recent_.empty()) return false;
  Node* node = recent_.back();
  recent_.pop_back();
  node->state.reset();
  prune(node);
  return true;
}

void PrefixTree::prune(Node* node) {
  while (node->parent && !node->state && node->children.empty()) {
    Node* parent = node->parent;
    parent->children.erase(node->ids.front());
    node = parent;
  }
}

void PrefixTree::clear() {
  while (evict()) {
  }
}

}  // namespace tandem
