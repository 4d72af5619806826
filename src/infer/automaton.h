// A grammar as one pushdown automaton over bytes: a nondeterministic automaton per rule, and calls from one to another.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "infer/grammar.h"

namespace tandem {

class Automaton {
 public:
  struct Edge {
    uint8_t first;
    uint8_t last;  // inclusive
    int32_t to;
  };
  // Goes on at `start`, the beginning of a rule, and behind it at `back`. `tail`: nothing but the end of its own rule
  // stands there, and the stack need not grow.
  struct Call {
    int32_t start;
    int32_t back;
    bool tail;
  };
  struct Node {
    std::vector<Edge> bytes;
    std::vector<Call> calls;
    std::vector<int32_t> next;  // without a byte
    bool end = false;           // of its rule; has no other ways on
    int32_t rule = 0;
  };

  // More nodes than that are refused: counts such as maxLength are written out.
  static constexpr size_t kMostNodes = size_t{1} << 17;

  // InputError when no text at all satisfies the grammar, when a rule begins with itself (the stack would grow without
  // a byte), and when it is too large. What can never be completed is left out: from every node there is a way to the
  // end.
  explicit Automaton(const Grammar& grammar);

  const Node& node(int32_t at) const { return nodes_[static_cast<size_t>(at)]; }
  int32_t start() const { return start_; }
  const std::string& where() const { return where_; }

  // Bytes that no node tells apart have the same class.
  int32_t classes() const { return classes_; }
  int32_t class_of(uint8_t byte) const { return class_of_[byte]; }
  uint8_t byte_of(int32_t byte_class) const { return byte_of_[static_cast<size_t>(byte_class)]; }

 private:
  class Builder;

  void find_classes();

  std::vector<Node> nodes_;
  int32_t start_ = 0;
  std::string where_;
  int32_t classes_ = 0;
  std::array<int32_t, 256> class_of_{};
  std::vector<uint8_t> byte_of_;
};

}  // namespace tandem
