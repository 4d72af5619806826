// The way back from rest: the encoder's output of sequences, on its way to be projected once more.
#pragma once

#include <span>
#include <vector>

#include "arch/memory_rows.h"
#include "ops/tape.h"

namespace tandem {

// Tokens of sequences on their way from rest: vectors [T, dim] and their positions, and the rows for what is projected.
class WakingRows {
 public:
  void clear();
  void add(MemoryRows& memory);  // there is room
  Var vectors(Tape& tape) const;
  std::span<const int32_t> positions() const { return positions_; }
  std::span<const int32_t> slots() const { return slots_; }

 private:
  const PagePool* outputs_ = nullptr;
  std::vector<int32_t> rows_, positions_, slots_;
};

}  // namespace tandem
