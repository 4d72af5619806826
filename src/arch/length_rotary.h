// Rotary tables of passes over sequences whose base follows their length: dynamic NTK (ModelConfig::rope_base_at).
#pragma once

#include <span>
#include <vector>

#include "arch/config.h"
#include "nn/layers.h"

namespace tandem {

// Lives longer than the passes: what it holds is kept for the next one.
class LengthRotary {
 public:
  void clear();
  void reserve(int64_t tokens);
  // The next tokens of the pass, at these positions: a sequence, as long as its last position says.
  void add(std::span<const int32_t> positions);
  // What turns all tokens that were added: the rows of a table, `base` where no sequence is too long for it. Valid
  // until the next clear().
  nn::Pass pass(const ModelConfig& config, const nn::Rotary& base, const SpanPlan& plan);

 private:
  // Of one sequence. Its rows are the table's rows for its positions.
  struct Sequence {
    size_t begin = 0;  // of rows_
    int64_t length = 0;
  };
  void fill(const ModelConfig& config, const nn::Rotary& base);

  std::vector<Sequence> sequences_;
  std::vector<int32_t> rows_;  // positions, then rows of the table
  Storage cos_;
  Storage sin_;
  ops::RopeTable table_;
};

}  // namespace tandem
