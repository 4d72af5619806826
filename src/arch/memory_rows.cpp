#include "arch/memory_rows.h"

#include <algorithm>

#include "kernels/copy_rows.h"

namespace tandem {

std::vector<PagePool::Column> output_columns(DType dtype, int64_t dim) { return {{dtype, 1, dim}}; }

void MemoryRows::rest() {
  if (has_outputs()) projected_.trim(0);
}

bool MemoryRows::reserve(int64_t count) {
  if (!projected_.reserve(length_ - projected_.length() + count)) return false;
  if (!keep_outputs_ || !has_outputs() || outputs_.reserve(count)) return true;
  projected_.trim(projected_.length());
  return false;
}

void MemoryRows::append(int64_t count, std::vector<int32_t>& slots) {
  projected_.append(count, slots);
  if (!keep_outputs_) outputs_.trim(0);  // of a state that came from elsewhere
  length_ += count;
}

void MemoryRows::keep(Context& ctx, const Tensor& outputs) {
  if (!keep_outputs_ || outputs_.length() + outputs.rows() != length_) return;
  if (!outputs_.reserve(outputs.rows())) return outputs_.trim(0);
  std::vector<int32_t> slots;
  outputs_.append(outputs.rows(), slots);
  kernels::scatter_rows(ctx, outputs_.pool().column(0), slots, outputs);
}

void MemoryRows::trim(int64_t length) {
  length_ = std::min(length_, length);
  projected_.trim(length_);
  outputs_.trim(length_);
}

namespace {

StateBytes figures(int64_t projected, int64_t outputs, bool can_rest, int64_t own, int64_t encoder) {
  int64_t live = projected + own;
  return {live, live + encoder, can_rest ? outputs + own : live};
}

}  // namespace

StateBytes MemoryRows::token_bytes(const PagedRows& own, int64_t encoder) const {
  return figures(projected_.bytes(), outputs_.bytes(), has_outputs(), own.bytes(), encoder);
}

StateBytes MemoryRows::page_bytes(const PagedRows& own, int64_t encoder) const {
  return figures(projected_.page_bytes(), outputs_.page_bytes(), has_outputs(), own.page_bytes(), encoder);
}

void WakingRows::clear() {
  rows_.clear();
  positions_.clear();
  slots_.clear();
}

void WakingRows::add(MemoryRows& memory) {
  outputs_ = &memory.outputs_.pool();
  for (int64_t t = memory.projected_.length(); t < memory.length_; ++t) {
    rows_.push_back(memory.outputs_.row(t));
    positions_.push_back(static_cast<int32_t>(t));
  }
  memory.projected_.append(memory.length_ - memory.projected_.length(), slots_);
}

Var WakingRows::vectors(Tape& tape) const {
  const Tensor& column = outputs_->column(0);
  auto count = static_cast<int64_t>(rows_.size());
  Tensor vectors = tape.arena().tensor(column.dtype, {count, column.row_size()});
  kernels::gather_rows(tape.context(), vectors, column, rows_);
  return tape.constant(vectors);
}

}  // namespace tandem
