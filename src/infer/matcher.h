// Runs an automaton over bytes, all its possibilities at once. Sets of possibilities and the steps between them are
// numbered and remembered as they are met, so that a step that was taken before is one look into a table.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "infer/automaton.h"

namespace tandem {

class Matcher {
 public:
  // A set of possibilities. The number is valid in this matcher only.
  using State = int32_t;
  static constexpr State kDead = 0;  // no text that begins so satisfies the grammar

  // A state written out: for every possibility a node and where its calls will return to, the innermost last.
  struct Portable {
    bool may_end = false;
    std::vector<std::pair<int32_t, std::vector<int32_t>>> threads;
  };

  // A state of more possibilities is refused, and so are more ways to one: a grammar so ambiguous could take
  // exponential time. More memory than that is a sign of the same.
  static constexpr size_t kMostThreads = size_t{1} << 12;
  static constexpr size_t kMostWays = size_t{1} << 16;
  static constexpr size_t kMostBytes = size_t{1} << 28;

  // The automaton must outlive the matcher.
  explicit Matcher(const Automaton& automaton);

  State start() const { return start_; }
  // InputError when the state has too many possibilities.
  State step(State state, uint8_t byte) {
    auto at = static_cast<size_t>(state) * static_cast<size_t>(automaton_->classes()) +
              static_cast<size_t>(automaton_->class_of(byte));
    State known = steps_[at];
    return known >= 0 ? known : take_step(state, automaton_->class_of(byte));
  }
  bool may_end(State state) const { return states_[static_cast<size_t>(state)].may_end; }
  bool may_go_on(State state) const { return states_[static_cast<size_t>(state)].count > 0; }

  // To carry a state into another matcher of the same automaton.
  Portable written_out(State state) const;
  State read(const Portable& portable);

  // Bytes of what is remembered.
  size_t bytes() const;

 private:
  struct Thread {
    int32_t node;
    int32_t stack;
    auto operator<=>(const Thread&) const = default;
  };
  struct Stack {  // a cell of a list; stack 0 is empty
    int32_t back;
    int32_t below;
  };
  struct Set {
    size_t begin;  // in threads_
    size_t count;
    bool may_end;
  };

  [[noreturn]] void refuse() const;
  State take_step(State state, int32_t byte_class);
  int32_t push(int32_t stack, int32_t back);
  void visit(Thread thread);
  State close();
  State remember();

  const Automaton* automaton_;
  State start_ = kDead;
  std::vector<Set> states_;
  std::vector<Thread> threads_;  // of all states
  std::vector<State> steps_;     // [state, class]; -1: not taken yet
  std::unordered_multimap<uint64_t, State> by_hash_;
  std::vector<Stack> stacks_;
  std::unordered_map<uint64_t, int32_t> by_cell_;

  // Of the state being made.
  std::vector<Thread> work_;
  std::unordered_map<uint64_t, bool> seen_;
  std::vector<Thread> found_;
  bool may_end_ = false;
};

}  // namespace tandem
