#include "infer/constraint.h"

#include <algorithm>
#include <atomic>
#include <unordered_map>

#include "base/error.h"
#include "infer/matcher.h"
#include "infer/token_trie.h"

namespace tandem {
namespace {

// What one constraint may remember; then it begins anew, with the states that requests are in.
constexpr size_t kMostRemembered = size_t{64} << 20;

void set_bit(std::vector<uint64_t>& bits, int32_t id) {
  bits[static_cast<size_t>(id) / 64] |= uint64_t{1} << static_cast<size_t>(id) % 64;
}

}  // namespace

ConstraintVocabulary::ConstraintVocabulary(const Tokenizer& tokenizer, std::vector<int32_t> eos)
    : ConstraintVocabulary(tokenizer.token_bytes(TokenPlace::inside), tokenizer.token_bytes(TokenPlace::first),
                           std::move(eos)) {}

ConstraintVocabulary::ConstraintVocabulary(const std::vector<std::string>& inside,
                                           const std::vector<std::string>& first, std::vector<int32_t> eos)
    : inside_(inside), eos_(std::move(eos)), inside_trie_(std::make_unique<TokenTrie>(inside_)) {
  if (first != inside) {
    first_ = first;
    first_trie_ = std::make_unique<TokenTrie>(first_);
  }
  for (int32_t id : eos_) {
    if (id >= 0 && static_cast<size_t>(id) < inside_.size()) continue;
    throw InputError({.what = "EOS token outside the vocabulary", .got = fmt::format("{}", id)});
  }
  if (eos_.empty()) throw InputError({.what = "constrained decoding needs an EOS token"});
}

ConstraintVocabulary::~ConstraintVocabulary() = default;

bool ConstraintVocabulary::is_eos(int32_t id) const { return std::find(eos_.begin(), eos_.end(), id) != eos_.end(); }

const std::string& ConstraintVocabulary::bytes(int32_t id, bool first) const {
  return (first && !first_.empty() ? first_ : inside_)[static_cast<size_t>(id)];
}

const TokenTrie& ConstraintVocabulary::trie(bool first) const {
  return first && first_trie_ != nullptr ? *first_trie_ : *inside_trie_;
}

// Shared by the requests; it only grows. When it is full another takes its place, and each request moves there with its
// state; what it pointed to before stays valid as long as it holds on to it.
struct Constraint::Memory {
  explicit Memory(const Automaton& automaton) : matcher(automaton) {}

  void note_size() { full = matcher.bytes() + masks.size() * mask_bytes > kMostRemembered; }

  std::mutex lock;  // of everything but `full`
  Matcher matcher;
  std::unordered_map<int64_t, std::vector<uint64_t>> masks;  // by state and place of the token
  size_t mask_bytes = 0;                                     // of one
  std::atomic<bool> full = false;
};

Constraint::Constraint(const Grammar& grammar, std::shared_ptr<const ConstraintVocabulary> vocabulary)
    : automaton_(grammar), vocabulary_(std::move(vocabulary)), memory_(std::make_shared<Memory>(automaton_)) {
  // A state of this very object, which does not own it.
  ConstraintState state(std::shared_ptr<const Constraint>(this, [](const Constraint*) {}));
  std::span<const uint64_t> mask = state.mask();
  if (std::any_of(mask.begin(), mask.end(), [](uint64_t word) { return word != 0; })) return;
  throw InputError({.what = "no token can begin such a text",
                    .where = grammar.where(),
                    .hint = "the tokenizer cannot write what the constraint asks for"});
}

Constraint::~Constraint() = default;

std::shared_ptr<Constraint::Memory> Constraint::memory() const {
  std::lock_guard guard(lock_);
  if (memory_->full) memory_ = std::make_shared<Memory>(automaton_);
  return memory_;
}

ConstraintState::ConstraintState(std::shared_ptr<const Constraint> constraint) : constraint_(std::move(constraint)) {
  if (constraint_ == nullptr) return;
  memory_ = constraint_->memory();
  state_ = memory_->matcher.start();
}

void ConstraintState::move() {
  std::shared_ptr<Constraint::Memory> used = constraint_->memory();
  if (used == memory_) return;
  Matcher::Portable portable;
  {
    std::lock_guard guard(memory_->lock);
    portable = memory_->matcher.written_out(state_);
  }
  std::lock_guard guard(used->lock);
  state_ = used->matcher.read(portable);
  memory_ = std::move(used);
}

std::span<const uint64_t> ConstraintState::mask() {
  move();
  const ConstraintVocabulary& vocabulary = *constraint_->vocabulary_;
  std::lock_guard guard(memory_->lock);
  // Behind EOS nothing comes but EOS: key -1, for states are not negative.
  int64_t key = ended_ ? -1 : int64_t{2} * state_ + (first_ ? 1 : 0);
  auto known = memory_->masks.find(key);
  if (known != memory_->masks.end()) return known->second;
  std::vector<uint64_t> bits((vocabulary.size() + 63) / 64, 0);
  if (!ended_) vocabulary.trie(first_).allow(memory_->matcher, state_, bits);
  // An EOS with bytes would be text as well; here it only ends.
  for (int32_t id : vocabulary.eos())
    bits[static_cast<size_t>(id) / 64] &= ~(uint64_t{1} << static_cast<size_t>(id) % 64);
  if (ended_ || memory_->matcher.may_end(state_)) {
    for (int32_t id : vocabulary.eos()) set_bit(bits, id);
  }
  memory_->mask_bytes = bits.size() * sizeof(uint64_t) + 64;
  const std::vector<uint64_t>& kept = memory_->masks.emplace(key, std::move(bits)).first->second;
  memory_->note_size();
  return kept;
}

void ConstraintState::accept(int32_t id) {
  const ConstraintVocabulary& vocabulary = *constraint_->vocabulary_;
  auto refuse = [&] {
    throw LogicError({.what = "token outside the constraint's mask", .got = fmt::format("{}", id)});
  };
  if (id < 0 || static_cast<size_t>(id) >= vocabulary.size()) refuse();
  std::lock_guard guard(memory_->lock);
  Matcher& matcher = memory_->matcher;
  if (vocabulary.is_eos(id)) {
    if (!ended_ && !matcher.may_end(state_)) refuse();
    ended_ = true;
    return;
  }
  const std::string& bytes = vocabulary.bytes(id, first_);
  Matcher::State state = ended_ || bytes.empty() ? Matcher::kDead : state_;
  for (char byte : bytes) state = matcher.step(state, static_cast<uint8_t>(byte));
  if (state == Matcher::kDead) refuse();
  state_ = state;
  first_ = false;
  memory_->note_size();
}

bool ConstraintState::may_end() const {
  std::lock_guard guard(memory_->lock);
  return ended_ || memory_->matcher.may_end(state_);
}

bool ConstraintState::complete() const {
  std::lock_guard guard(memory_->lock);
  return ended_ || !memory_->matcher.may_go_on(state_);
}

}  // namespace tandem
