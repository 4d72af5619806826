#include "infer/automaton.h"

#include <algorithm>
#include <bitset>
#include <map>

#include "base/error.h"

namespace tandem {

class Automaton::Builder {
 public:
  Builder(const Grammar& grammar, std::vector<Node>& nodes) : grammar_(grammar), nodes_(nodes) {}

  // The node where the whole text begins.
  int32_t build() {
    for (size_t i = 0; i < grammar_.rules().size(); ++i) {
      rule_ = static_cast<int32_t>(i);
      int32_t start = add_node();
      starts_.push_back(start);
      ends_.push_back(add_node());
      nodes_.back().end = true;
    }
    for (size_t i = 0; i < starts_.size(); ++i) {
      rule_ = static_cast<int32_t>(i);
      connect(grammar_.rules()[i].body, starts_[i], ends_[i]);
    }
    std::vector<bool> live = reaching_an_end(/*without_bytes=*/false);
    if (!live[at(starts_[0])]) refuse_impossible(live);
    prune(live);
    refuse_left_recursion();
    return starts_[0];
  }

 private:
  static size_t at(int32_t node) { return static_cast<size_t>(node); }

  std::string where(int32_t rule) const { return grammar_.where() + ": " + grammar_.rules()[at(rule)].name; }

  int32_t add_node() {
    if (nodes_.size() == kMostNodes) {
      throw InputError({.what = "too large to compile",
                        .where = where(rule_),
                        .expected = fmt::format("at most {} states", kMostNodes),
                        .hint = "are there large numbers of repetitions?"});
    }
    nodes_.push_back({});
    nodes_.back().rule = rule_;
    return static_cast<int32_t>(nodes_.size() - 1);
  }

  void connect(Grammar::Expression expression, int32_t from, int32_t to) {
    const Grammar::Node& node = grammar_.expressions()[at(expression)];
    switch (node.kind) {
      case Grammar::Kind::literal: return connect_literal(node.bytes, from, to);
      case Grammar::Kind::characters: return connect_characters(node.set, from, to);
      case Grammar::Kind::sequence: return connect_sequence(node.parts, from, to);
      case Grammar::Kind::any_of:
        for (Grammar::Expression part : node.parts) connect(part, from, to);
        return;
      case Grammar::Kind::repeat: return connect_repeat(node, from, to);
      case Grammar::Kind::call:
        nodes_[at(from)].calls.push_back({starts_[at(node.rule)], to, nodes_[at(to)].end});
        return;
    }
  }

  void connect_literal(const std::string& bytes, int32_t from, int32_t to) {
    if (bytes.empty()) return connect_empty(from, to);
    for (size_t i = 0; i < bytes.size(); ++i) {
      int32_t next = i + 1 == bytes.size() ? to : add_node();
      auto byte = static_cast<uint8_t>(bytes[i]);
      nodes_[at(from)].bytes.push_back({byte, byte, next});
      from = next;
    }
  }

  void connect_characters(const CodeSet& set, int32_t from, int32_t to) {
    // Ends of sequences that are equal share their nodes: most characters end in the same continuation bytes.
    std::map<std::vector<ByteRange>, int32_t> shared{{{}, to}};
    for (const std::vector<ByteRange>& sequence : utf8_sequences(set)) {
      int32_t next = to;
      for (size_t i = sequence.size(); i-- > 1;) {
        std::vector<ByteRange> rest(sequence.begin() + static_cast<std::ptrdiff_t>(i), sequence.end());
        auto [entry, fresh] = shared.try_emplace(rest, -1);
        if (fresh) {
          entry->second = add_node();
          nodes_.back().bytes.push_back({rest[0].first, rest[0].last, next});
        }
        next = entry->second;
      }
      nodes_[at(from)].bytes.push_back({sequence[0].first, sequence[0].last, next});
    }
  }

  void connect_sequence(const std::vector<Grammar::Expression>& parts, int32_t from, int32_t to) {
    if (parts.empty()) return connect_empty(from, to);
    for (size_t i = 0; i < parts.size(); ++i) {
      int32_t next = i + 1 == parts.size() ? to : add_node();
      connect(parts[i], from, next);
      from = next;
    }
  }

  void connect_repeat(const Grammar::Node& node, int32_t from, int32_t to) {
    Grammar::Expression part = node.parts[0];
    if (node.most == 0) return connect_empty(from, to);
    for (int64_t i = 0; i < node.least; ++i) {
      bool last = i + 1 == node.most;
      int32_t next = last ? to : add_node();
      connect(part, from, next);
      from = next;
    }
    if (node.least == node.most) return;
    if (node.most == Grammar::kUnlimited) {
      int32_t loop = add_node();
      connect_empty(from, loop);
      connect(part, loop, loop);
      return connect_empty(loop, to);
    }
    connect_empty(from, to);
    for (int64_t i = node.least; i < node.most; ++i) {
      int32_t next = i + 1 == node.most ? to : add_node();
      connect(part, from, next);
      if (next != to) connect_empty(next, to);
      from = next;
    }
  }

  void connect_empty(int32_t from, int32_t to) { nodes_[at(from)].next.push_back(to); }

  // For every node whether its rule's end can be reached; `without_bytes`: by the empty text. Goes backwards from the
  // ends; a call is passed once both its rule and what stands behind it are.
  std::vector<bool> reaching_an_end(bool without_bytes) const {
    std::vector<std::vector<int32_t>> before(nodes_.size());
    for (size_t n = 0; n < nodes_.size(); ++n) {
      auto from = static_cast<int32_t>(n);
      if (!without_bytes) {
        for (const Edge& edge : nodes_[n].bytes) before[at(edge.to)].push_back(from);
      }
      for (int32_t to : nodes_[n].next) before[at(to)].push_back(from);
      for (const Call& call : nodes_[n].calls) {
        before[at(call.start)].push_back(from);
        before[at(call.back)].push_back(from);
      }
    }
    std::vector<bool> reaching(nodes_.size(), false);
    std::vector<int32_t> work;
    for (size_t n = 0; n < nodes_.size(); ++n) {
      if (nodes_[n].end) work.push_back(static_cast<int32_t>(n));
    }
    for (int32_t n : work) reaching[at(n)] = true;
    while (!work.empty()) {
      int32_t n = work.back();
      work.pop_back();
      for (int32_t from : before[at(n)]) {
        if (reaching[at(from)] || !passes(from, reaching, without_bytes)) continue;
        reaching[at(from)] = true;
        work.push_back(from);
      }
    }
    return reaching;
  }

  bool passes(int32_t from, const std::vector<bool>& reaching, bool without_bytes) const {
    const Node& node = nodes_[at(from)];
    auto edge_passes = [&](const Edge& edge) { return reaching[at(edge.to)]; };
    return (!without_bytes && std::any_of(node.bytes.begin(), node.bytes.end(), edge_passes)) ||
           std::any_of(node.next.begin(), node.next.end(), [&](int32_t to) { return reaching[at(to)]; }) ||
           std::any_of(node.calls.begin(), node.calls.end(),
                       [&](const Call& call) { return reaching[at(call.start)] && reaching[at(call.back)]; });
  }

  // Names the rule that is to blame: one that calls no other impossible rule, or itself again.
  [[noreturn]] void refuse_impossible(const std::vector<bool>& live) const {
    std::vector<int32_t> culprit(starts_.size(), -1);  // by rule: an impossible one that it calls
    for (const Node& node : nodes_) {
      for (const Call& call : node.calls) {
        int32_t& known = culprit[at(node.rule)];
        if (known < 0 && !live[at(call.start)]) known = nodes_[at(call.start)].rule;
      }
    }
    int32_t rule = 0;
    for (std::vector<bool> seen(starts_.size()); culprit[at(rule)] >= 0 && !seen[at(culprit[at(rule)])];) {
      seen[at(rule)] = true;
      rule = culprit[at(rule)];
    }
    throw InputError(
        {.what = "no text can satisfy this", .where = where(rule), .hint = "is it a contradiction, or endless?"});
  }

  void prune(const std::vector<bool>& live) {
    for (Node& node : nodes_) {
      std::erase_if(node.bytes, [&](const Edge& edge) { return !live[at(edge.to)]; });
      std::erase_if(node.next, [&](int32_t to) { return !live[at(to)]; });
      std::erase_if(node.calls, [&](const Call& call) { return !live[at(call.start)] || !live[at(call.back)]; });
    }
  }

  // A cycle without a byte that pushes on its way.
  void refuse_left_recursion() const {
    std::vector<bool> empty = reaching_an_end(/*without_bytes=*/true);
    std::vector<std::vector<int32_t>> ways(nodes_.size());
    for (size_t n = 0; n < nodes_.size(); ++n) {
      ways[n] = nodes_[n].next;
      for (const Call& call : nodes_[n].calls) {
        ways[n].push_back(call.start);
        if (empty[at(call.start)]) ways[n].push_back(call.back);
      }
    }
    std::vector<int32_t> component = components(ways);
    for (size_t n = 0; n < nodes_.size(); ++n) {
      for (const Call& call : nodes_[n].calls) {
        if (call.tail || component[n] != component[at(call.start)]) continue;
        throw InputError({.what = "left recursion",
                          .where = where(nodes_[n].rule),
                          .got = "a rule that begins with itself",
                          .hint = "write a repetition, or let the recursion stand at the end"});
      }
    }
  }

  // Strongly connected components (Tarjan 1972), without recursion.
  static std::vector<int32_t> components(const std::vector<std::vector<int32_t>>& ways) {
    std::vector<int32_t> index(ways.size(), -1), low(ways.size(), 0), component(ways.size(), -1), open;
    std::vector<std::pair<int32_t, size_t>> path;  // node and how many of its ways were taken
    int32_t count = 0, components = 0;
    for (size_t root = 0; root < ways.size(); ++root) {
      if (index[root] >= 0) continue;
      path.emplace_back(static_cast<int32_t>(root), 0);
      while (!path.empty()) {
        auto [node, taken] = path.back();
        if (taken == 0) {
          index[at(node)] = low[at(node)] = count++;
          open.push_back(node);
        }
        if (taken < ways[at(node)].size()) {
          ++path.back().second;
          int32_t to = ways[at(node)][taken];
          if (index[at(to)] < 0) {
            path.emplace_back(to, 0);
          } else if (component[at(to)] < 0) {
            low[at(node)] = std::min(low[at(node)], index[at(to)]);
          }
          continue;
        }
        path.pop_back();
        if (!path.empty()) {
          int32_t parent = path.back().first;
          low[at(parent)] = std::min(low[at(parent)], low[at(node)]);
        }
        if (low[at(node)] != index[at(node)]) continue;
        for (int32_t member = -1; member != node;) {
          member = open.back();
          open.pop_back();
          component[at(member)] = components;
        }
        ++components;
      }
    }
    return component;
  }

  const Grammar& grammar_;
  std::vector<Node>& nodes_;
  std::vector<int32_t> starts_, ends_;  // by rule
  int32_t rule_ = 0;                    // being built
};

Automaton::Automaton(const Grammar& grammar) : where_(grammar.where()) {
  start_ = Builder(grammar, nodes_).build();
  find_classes();
}

void Automaton::find_classes() {
  std::bitset<257> begins;  // a class may begin here
  begins.set(0);
  for (const Node& node : nodes_) {
    for (const Edge& edge : node.bytes) {
      begins.set(edge.first);
      begins.set(size_t{edge.last} + 1);
    }
  }
  for (size_t byte = 0; byte < 256; ++byte) {
    if (begins[byte]) byte_of_.push_back(static_cast<uint8_t>(byte));
    class_of_[byte] = static_cast<int32_t>(byte_of_.size()) - 1;
  }
  classes_ = static_cast<int32_t>(byte_of_.size());
}

}  // namespace tandem
