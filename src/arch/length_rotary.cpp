#include "arch/length_rotary.h"

#include <algorithm>

namespace tandem {

void LengthRotary::clear() {
  sequences_.clear();
  rows_.clear();
}

void LengthRotary::reserve(int64_t tokens) { rows_.reserve(static_cast<size_t>(tokens)); }

void LengthRotary::add(std::span<const int32_t> positions) {
  if (positions.empty()) return;
  sequences_.push_back({rows_.size(), int64_t{*std::max_element(positions.begin(), positions.end())} + 1});
  rows_.insert(rows_.end(), positions.begin(), positions.end());
}

nn::Pass LengthRotary::pass(const ModelConfig& config, const nn::Rotary& base, const SpanPlan& plan) {
  bool longer = false, too_long = false;
  for (const Sequence& s : sequences_) {
    longer = longer || config.rope_base_at(s.length) != config.rope_base;
    too_long = too_long || s.length > base.table().cos.rows();
  }
  // What is too long for the model is refused where positions are looked up.
  if (!longer || too_long) return {rows_, &base.table(), &plan};
  fill(config, base);
  return {rows_, &table_, &plan};
}

void LengthRotary::fill(const ModelConfig& config, const nn::Rotary& base) {
  int64_t needed = 0, half = base.table().cos.row_size();
  for (const Sequence& s : sequences_) needed += s.length;
  if (!cos_.tensor().defined() || cos_.tensor().rows() < needed) {
    // Sequences that are written grow token by token: room for as many at their longest.
    int64_t rows = static_cast<int64_t>(sequences_.size()) * config.max_seq_len;
    DType dtype = base.table().cos.dtype;
    cos_ = Storage(dtype, {rows, half});
    sin_ = Storage(dtype, {rows, half});
    table_ = {cos_.tensor(), sin_.tensor(), base.table().pairs};
  }
  int64_t begin = 0;
  for (size_t i = 0; i < sequences_.size(); ++i) {
    const Sequence& s = sequences_[i];
    int64_t end = begin + s.length;
    kernels::rope_table(table_.cos.slice_rows(begin, end), table_.sin.slice_rows(begin, end),
                        config.rope_base_at(s.length));
    size_t last = i + 1 < sequences_.size() ? sequences_[i + 1].begin : rows_.size();
    for (size_t t = s.begin; t < last; ++t) rows_[t] += static_cast<int32_t>(begin);
    begin = end;
  }
}

}  // namespace tandem
