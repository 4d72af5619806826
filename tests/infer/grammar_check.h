// Texts of a grammar, byte by byte: which it accepts and how one that was begun can end.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/rng.h"
#include "infer/automaton.h"
#include "infer/constraint.h"
#include "infer/matcher.h"

namespace tandem::test {

class GrammarCheck {
 public:
  explicit GrammarCheck(const Grammar& grammar) : automaton_(grammar), matcher_(automaton_) {}

  Matcher::State after(std::string_view text) {
    Matcher::State state = matcher_.start();
    for (char c : text) state = matcher_.step(state, static_cast<uint8_t>(c));
    return state;
  }
  bool accepts(std::string_view text) { return matcher_.may_end(after(text)); }
  bool begins(std::string_view text) { return after(text) != Matcher::kDead; }

  // The shortest rest that ends the text, found breadth first; nothing when it is long or there is none.
  std::optional<std::string> rest(std::string_view text) {
    std::unordered_map<Matcher::State, std::string> seen{{after(text), ""}};
    std::deque<Matcher::State> work{after(text)};
    for (size_t i = 0; i < 200000 && !work.empty(); ++i) {
      Matcher::State state = work.front();
      work.pop_front();
      if (matcher_.may_end(state)) return seen[state];
      for (int32_t c = 0; c < automaton_.classes(); ++c) {
        Matcher::State next = matcher_.step(state, automaton_.byte_of(c));
        if (next == Matcher::kDead || seen.contains(next)) continue;
        seen[next] = seen[state] + static_cast<char>(automaton_.byte_of(c));
        work.push_back(next);
      }
    }
    return {};
  }

 private:
  Automaton automaton_;
  Matcher matcher_;
};

inline constexpr int32_t kEos = 0;

// EOS, every byte (byte b is id b + 1), and the given tokens.
inline std::shared_ptr<const ConstraintVocabulary> byte_vocabulary(const std::vector<std::string>& more = {}) {
  std::vector<std::string> tokens{""};
  for (int byte = 0; byte < 256; ++byte) tokens.emplace_back(1, static_cast<char>(byte));
  tokens.insert(tokens.end(), more.begin(), more.end());
  return std::make_shared<ConstraintVocabulary>(tokens, tokens, std::vector<int32_t>{kEos});
}

inline bool allows(ConstraintState& state, int32_t id) {
  std::span<const uint64_t> mask = state.mask();
  return mask[static_cast<size_t>(id) / 64] >> static_cast<size_t>(id) % 64 & 1;
}

// Random tokens of the mask, `length` of them, and then the shortest way to the end, which the masks must allow, too.
// The text that was written.
inline std::string random_walk(const Grammar& grammar, const std::shared_ptr<const Constraint>& constraint,
                               const ConstraintVocabulary& vocabulary, int length, Rng& rng) {
  ConstraintState state(constraint);
  std::string text;
  std::vector<int32_t> ids;
  for (int i = 0; i < length; ++i) {
    ids.clear();
    for (size_t id = 0; id < vocabulary.size(); ++id) {
      if (allows(state, static_cast<int32_t>(id))) ids.push_back(static_cast<int32_t>(id));
    }
    if (ids.empty()) throw std::runtime_error("dead end behind: " + text);
    int32_t id = ids[rng.below(static_cast<uint32_t>(ids.size()))];
    // Characters outside ASCII are most of the tokens here; the rest is more interesting.
    if (vocabulary.bytes(id, false) > "\x7f") id = ids[rng.below(static_cast<uint32_t>(ids.size()))];
    state.accept(id);
    if (id == kEos) return text;
    text += vocabulary.bytes(id, false);
  }
  GrammarCheck check(grammar);
  std::optional<std::string> rest = check.rest(text);
  if (!rest) throw std::runtime_error("no end behind: " + text);
  for (char c : *rest) {
    int32_t id = static_cast<uint8_t>(c) + 1;
    if (!allows(state, id)) throw std::runtime_error("the end is not allowed behind: " + text);
    state.accept(id);
    text += c;
  }
  if (!allows(state, kEos)) throw std::runtime_error("EOS is not allowed behind: " + text);
  return text;
}

}  // namespace tandem::test
