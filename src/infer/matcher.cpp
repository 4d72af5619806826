#include "infer/matcher.h"

#include <algorithm>

#include "base/error.h"

namespace tandem {
namespace {

uint64_t pair_key(int32_t a, int32_t b) { return uint64_t{static_cast<uint32_t>(a)} << 32 | static_cast<uint32_t>(b); }

}  // namespace

Matcher::Matcher(const Automaton& automaton) : automaton_(&automaton), stacks_{{-1, 0}} {
  remember();  // the dead state
  visit({automaton.start(), 0});
  start_ = close();
}

void Matcher::refuse() const {
  throw InputError({.what = "too ambiguous to follow",
                    .where = automaton_->where(),
                    .expected = fmt::format("at most {} ways to read the beginning of a text", kMostThreads)});
}

int32_t Matcher::push(int32_t stack, int32_t back) {
  auto [entry, fresh] = by_cell_.try_emplace(pair_key(back, stack), static_cast<int32_t>(stacks_.size()));
  if (fresh) stacks_.push_back({back, stack});
  return entry->second;
}

void Matcher::visit(Thread thread) {
  if (!seen_.try_emplace(pair_key(thread.node, thread.stack)).second) return;
  if (seen_.size() > kMostWays) refuse();
  work_.push_back(thread);
}

// Follows everything that needs no byte.
Matcher::State Matcher::close() {
  while (!work_.empty()) {
    Thread thread = work_.back();
    work_.pop_back();
    const Automaton::Node& node = automaton_->node(thread.node);
    if (node.end) {
      const Stack& top = stacks_[static_cast<size_t>(thread.stack)];
      if (thread.stack == 0) {
        may_end_ = true;
      } else {
        visit({top.back, top.below});
      }
    }
    for (int32_t to : node.next) visit({to, thread.stack});
    for (const Automaton::Call& call : node.calls) {
      visit({call.start, call.tail ? thread.stack : push(thread.stack, call.back)});
    }
    if (!node.bytes.empty()) found_.push_back(thread);
  }
  if (found_.size() > kMostThreads || bytes() > kMostBytes) refuse();
  return remember();
}

// The number of the state that was just found.
Matcher::State Matcher::remember() {
  std::sort(found_.begin(), found_.end());
  uint64_t hash = may_end_;
  for (const Thread& t : found_) {
    hash = (hash ^ pair_key(t.node, t.stack)) * 0x9E3779B97F4A7C15u;
    hash ^= hash >> 31;
  }
  auto same = [&](State state) {
    const Set& set = states_[static_cast<size_t>(state)];
    return set.may_end == may_end_ && set.count == found_.size() &&
           std::equal(found_.begin(), found_.end(), threads_.begin() + static_cast<std::ptrdiff_t>(set.begin));
  };
  State state = -1;
  auto [begin, end] = by_hash_.equal_range(hash);
  for (auto it = begin; it != end && state < 0; ++it) state = same(it->second) ? it->second : -1;
  if (state < 0) {
    state = static_cast<State>(states_.size());
    states_.push_back({threads_.size(), found_.size(), may_end_});
    threads_.insert(threads_.end(), found_.begin(), found_.end());
    // The dead state, number 0, stays dead.
    steps_.resize(steps_.size() + static_cast<size_t>(automaton_->classes()), state == kDead ? kDead : -1);
    by_hash_.emplace(hash, state);
  }
  found_.clear();
  seen_.clear();
  may_end_ = false;
  return state;
}

Matcher::State Matcher::take_step(State state, int32_t byte_class) {
  // What an earlier error may have left.
  work_.clear();
  seen_.clear();
  found_.clear();
  may_end_ = false;
  uint8_t byte = automaton_->byte_of(byte_class);
  const Set set = states_[static_cast<size_t>(state)];
  for (size_t i = set.begin; i < set.begin + set.count; ++i) {
    Thread thread = threads_[i];
    for (const Automaton::Edge& edge : automaton_->node(thread.node).bytes) {
      if (edge.first <= byte && byte <= edge.last) visit({edge.to, thread.stack});
    }
  }
  State to = close();
  steps_[static_cast<size_t>(state) * static_cast<size_t>(automaton_->classes()) + static_cast<size_t>(byte_class)] =
      to;
  return to;
}

Matcher::Portable Matcher::written_out(State state) const {
  const Set& set = states_[static_cast<size_t>(state)];
  Portable portable{.may_end = set.may_end};
  for (size_t i = set.begin; i < set.begin + set.count; ++i) {
    std::vector<int32_t> backs;
    for (int32_t s = threads_[i].stack; s != 0; s = stacks_[static_cast<size_t>(s)].below) {
      backs.push_back(stacks_[static_cast<size_t>(s)].back);
    }
    std::reverse(backs.begin(), backs.end());
    portable.threads.emplace_back(threads_[i].node, std::move(backs));
  }
  return portable;
}

Matcher::State Matcher::read(const Portable& portable) {
  may_end_ = portable.may_end;
  found_.clear();
  for (const auto& [node, backs] : portable.threads) {
    int32_t stack = 0;
    for (int32_t back : backs) stack = push(stack, back);
    found_.push_back({node, stack});
  }
  return remember();
}

size_t Matcher::bytes() const {
  constexpr size_t kEntry = 48;  // of a hash table, about
  return states_.size() * (sizeof(Set) + kEntry) + threads_.size() * sizeof(Thread) + steps_.size() * sizeof(State) +
         stacks_.size() * (sizeof(Stack) + kEntry);
}

}  // namespace tandem
