// What was read before, by its tokens: a prompt that begins like an earlier one is not read again.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "arch/state.h"

namespace tandem {

// A radix tree over the ids of sequences; a node's state has read all ids from the root to it. States share pages, so
// that a prefix is held once however many sequences go on from it.
class PrefixTree {
 public:
  struct Match {
    std::unique_ptr<State> state;  // null: nothing that helps is known
    int64_t tokens = 0;            // the first ones of the ids, which the state has read
  };

  PrefixTree();

  // The state that has read the most of the ids' beginning and nothing else, ready to read on.
  Match find(std::span<const int32_t> ids);
  // Remembers a state that has read `ids` (at least one), with no open block; it goes to rest.
  void insert(std::span<const int32_t> ids, std::unique_ptr<State> state);
  // Forgets the state that was not used for the longest time. False when there is none.
  bool evict();
  void clear();

  // Calls `visit` for every state, the latest used first, until it returns false; not for those that a longer state
  // serves as well. `visit` may not change what a state has read.
  void each_latest_first(const std::function<bool(std::span<const int32_t> ids, State& state)>& visit) const;

  int64_t states() const { return static_cast<int64_t>(recent_.size()); }

 private:
  struct Node {
    std::vector<int32_t> ids;  // on the way from the parent; empty for the root alone
    Node* parent = nullptr;
    std::map<int32_t, std::unique_ptr<Node>> children;  // by their first id
    std::unique_ptr<State> state;
    std::list<Node*>::iterator place;  // in recent_, with a state
  };

  // Where the ids lead: the last node entered, how many of its own ids agree, and how many ids in all.
  struct Walk {
    Node* node;
    size_t inside;
    size_t tokens;
  };
  Walk walk(std::span<const int32_t> ids) const;
  Match find_whole(const Walk& at);
  void split(Node& node, size_t at);  // a node of its own for the first `at` ids
  void use(Node& node);
  static std::vector<int32_t> ids_of(const Node& node);  // from the root
  static bool served_below(const Node& node, int64_t tokens);
  void prune(Node* node);  // and above it what leads to no state

  std::unique_ptr<Node> root_;
  std::list<Node*> recent_;  // nodes with a state, the latest used first
};

}  // namespace tandem
