// Constrained decoding: which tokens keep a text on the way to one that satisfies a grammar.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "infer/automaton.h"
#include "infer/grammar.h"
#include "text/tokenizer.h"

namespace tandem {

class TokenTrie;

// What constraints know about the tokens; made once per model, shared by all constraints.
class ConstraintVocabulary {
 public:
  // `eos`: tokens that end a text, at least one; special tokens besides are never allowed.
  ConstraintVocabulary(const Tokenizer& tokenizer, std::vector<int32_t> eos);
  // Bytes by id: behind other tokens, and at the beginning of a text where some decoders drop a space.
  ConstraintVocabulary(const std::vector<std::string>& inside, const std::vector<std::string>& first,
                       std::vector<int32_t> eos);
  ~ConstraintVocabulary();

  size_t size() const { return inside_.size(); }
  const std::vector<int32_t>& eos() const { return eos_; }
  bool is_eos(int32_t id) const;
  const std::string& bytes(int32_t id, bool first) const;
  const TokenTrie& trie(bool first) const;

 private:
  std::vector<std::string> inside_;
  std::vector<std::string> first_;  // empty: the same
  std::vector<int32_t> eos_;
  std::unique_ptr<const TokenTrie> inside_trie_;
  std::unique_ptr<const TokenTrie> first_trie_;
};

// A grammar compiled for a vocabulary. Everything that can be wrong with it is found here, before a request is queued;
// one constraint serves any number of requests, on any threads.
class Constraint {
 public:
  // InputError as Automaton, and when no token can begin the text.
  Constraint(const Grammar& grammar, std::shared_ptr<const ConstraintVocabulary> vocabulary);
  ~Constraint();

 private:
  friend class ConstraintState;
  struct Memory;  // what was found out about the automaton so far

  // The one in use; a new one when it is full.
  std::shared_ptr<Memory> memory() const;

  Automaton automaton_;
  std::shared_ptr<const ConstraintVocabulary> vocabulary_;
  mutable std::mutex lock_;
  mutable std::shared_ptr<Memory> memory_;
};

// One text under a constraint. A copy goes on independently.
class ConstraintState {
 public:
  ConstraintState() = default;  // no constraint
  explicit ConstraintState(std::shared_ptr<const Constraint> constraint);

  bool active() const { return constraint_ != nullptr; }

  // One bit per id of the vocabulary: set when the text may go on with this token. EOS may come exactly where the text
  // satisfies the grammar. Without any bit set the vocabulary has no token for what must come; with a token for every
  // byte that never happens. Valid until the next call; remembered per state of the automaton, so that a place that was
  // seen before costs nothing.
  std::span<const uint64_t> mask();

  // Goes on with a token that the mask allows; LogicError for any other.
  void accept(int32_t id);

  // The text so far satisfies the grammar; and nothing can be added to it.
  bool may_end() const;
  bool complete() const;

 private:
  // Moves to the memory in use.
  void move();

  std::shared_ptr<const Constraint> constraint_;
  std::shared_ptr<Constraint::Memory> memory_;
  int32_t state_ = 0;
  bool first_ = true;   // nothing has been written
  bool ended_ = false;  // by EOS
};

}  // namespace tandem
