// What architectures keep of the sequences that they read and write: states, in pages that all sequences of a model
// share.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "cache/page_pool.h"

namespace tandem {

// What becomes of the state that is needed only to read on (a double decoder's encoder keys and values) once a prompt
// has been read. Architectures that need all of their state for writing have no such part.
enum class EncoderState {
  keep,       // it stays: reading on costs only the new tokens, and the memory cancels what the architecture saves
  recompute,  // settle() drops it; reading on reads the sequence again from its start
  spill,      // settle() moves it to a file; reading on gets it from there, and reads again what is not there whole
};

struct CacheOptions {
  int64_t bytes = int64_t{1} << 40;   // pages of all sequences together
  int64_t tokens = int64_t{1} << 20;  // address space: as many tokens as this in each kind of page
  EncoderState encoder = EncoderState::keep;
  // Whether the vectors that an encoder puts out are kept beside the keys and values that are projected from them, one
  // per token that is read: then states can go to rest.
  bool keep_outputs = false;
  std::filesystem::path spill_folder;  // of EncoderState::spill; its files go with the states
};

// What it has cost that states were not kept whole.
struct CacheCounts {
  int64_t recomputed = 0;  // tokens that an encoder went over once more
  int64_t restored = 0;    // tokens whose encoder state came from files
  int64_t woken = 0;       // tokens whose keys and values were projected once more
};

// The pools of a model's caches. Outlives every state that was made with it.
class Caches {
 public:
  explicit Caches(const CacheOptions& options) : budget_(options.bytes), options_(options) {}
  virtual ~Caches() = default;
  Caches(const Caches&) = delete;
  Caches& operator=(const Caches&) = delete;

  const CacheOptions& options() const { return options_; }
  int64_t bytes_in_use() const { return budget_.used(); }  // pages that belong to somebody
  int64_t limit() const { return budget_.limit(); }
  const CacheCounts& counts() const { return counts_; }
  CacheCounts& counts() { return counts_; }

 protected:
  MemoryBudget budget_;

 private:
  CacheOptions options_;
  CacheCounts counts_;
};

// Bytes that a state holds, each figure of what is there: of a state at rest nothing is live but what it has written.
struct StateBytes {
  int64_t live = 0;          // what writing needs
  int64_t with_encoder = 0;  // and what only reading on needs, as far as it is held
  int64_t at_rest = 0;       // what rest() leaves

  // Of a state that needs all of it for everything.
  static constexpr StateBytes of_one_form(int64_t bytes) { return {bytes, bytes, bytes}; }
};

class StateArchive;

// One sequence: what was read, and behind it what was written.
class State {
 public:
  virtual ~State() = default;
  State& operator=(const State&) = delete;

  virtual int64_t length() const = 0;   // tokens read and written so far
  virtual int64_t written() const = 0;  // of them, those written since the last reading
  int64_t bytes() const { return token_bytes().live; }
  virtual StateBytes token_bytes() const = 0;  // the tokens' share
  virtual StateBytes page_bytes() const = 0;   // whole pages, each counted for every state that shares it

  // The same sequence once more. Both share pages until one of them writes to them.
  virtual std::unique_ptr<State> fork() const = 0;
  // Pages of its own in place of those that it shares. False, and the content as it was, when the pages don't suffice
  // or the architecture does not offer it.
  virtual bool unshare() { return false; }
  // Forgets the last `count` of the tokens that were written (at most all of them).
  // Room that was reserved behind them goes, too; with count 0 nothing does.
  virtual void unwrite(int64_t count) = 0;
  // Keeps the first `length` of the tokens that were read, of a sequence whose block is closed. False, and nothing
  // changed, where a part of what was read is no state of its own (both directions are read).
  virtual bool keep_read(int64_t length) = 0;
  // The ids of written tokens that reading on has to read first; empty where writing is reading.
  virtual std::vector<int32_t> unread_block() const = 0;
  virtual void close_block() = 0;  // forgets that the block was written
  // The first position behind `count` tokens that are read or written next.
  virtual int64_t end_of_read(int64_t count) const = 0;
  virtual int64_t end_of_write(int64_t count) const = 0;
  // No more is read for a while: drops what only reading needs, if the caches' options say so.
  virtual void settle() {}
  // Nothing is read or written for a long while: leaves only what the rest can be projected from without reading the
  // sequence again. States of architectures that have no such form, and those whose caches don't keep an encoder's
  // output, stay as they are. Model::wake() is the way back; reading and writing take it by themselves.
  virtual void rest() {}
  virtual bool resting() const { return false; }
  // Nothing was read yet, what is read next comes in one pass, and settle() follows: what that would drop need not take
  // up room in between. False where nothing would be saved, and then tokens may come in pieces as ever.
  virtual bool read_at_once() { return false; }
  // Makes room for tokens to be read or written, so that the pass cannot fail; for a state at rest also for what wakes
  // it. False when the pages don't suffice; then the state is as it was before.
  virtual bool reserve_read(int64_t count) = 0;
  virtual bool reserve_write(int64_t count) = 0;
  // Room for both, one after the other. Where both go to the same pages that is more than either call takes.
  virtual bool reserve(int64_t read, int64_t write) { return reserve_read(read + write) && reserve_write(write); }

  // Saves all that the state is, or loads it into a new one, checking what can be wrong (arch/state_archive.h).
  virtual void transfer(StateArchive& archive) = 0;

  // A state with caches of its own, for one sequence of at most `capacity` tokens.
  void own(std::shared_ptr<Caches> caches, int64_t capacity) {
    caches_ = std::move(caches);
    capacity_ = capacity;
  }
  int64_t capacity() const { return capacity_; }

 protected:
  State() = default;
  State(const State&) = default;

 private:
  std::shared_ptr<Caches> caches_;
  int64_t capacity_ = int64_t{1} << 40;
};

// Tokens of one sequence in a pass over several.
struct Piece {
  State* state = nullptr;
  std::span<const int32_t> ids;
};

}  // namespace tandem
