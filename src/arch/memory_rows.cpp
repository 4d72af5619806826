#include "arch/memory_rows.h"

#include <algorithm>

#include "arch/state_archive.h"

namespace tandem {

std::vector<PagePool::Column> output_columns(DType dtype, int64_t dim) { return {{dtype, 1, dim}}; }

void MemoryRows::rest() {
  if (has_outputs()) projected_.trim(0);
}

bool MemoryRows::reserve(int64_t count) {
  if (!projected_.reserve(length_ - projected_.length() + count)) return false;
  if (!keeps_outputs() || !has_outputs() || outputs_.reserve(count)) return true;
  projected_.trim(projected_.length());
  return false;
}

void MemoryRows::append(int64_t count, std::vector<int32_t>& slots) {
  projected_.append(count, slots);
  if (!keeps_outputs()) outputs_.trim(0);  // of a state that came from elsewhere
  length_ += count;
}

void MemoryRows::keep(const Tensor& outputs) {
  if (!keeps_outputs() || outputs_.length() + outputs.rows() != length_) return;
  if (!outputs_.copy_in(outputs.rows(), static_cast<const char*>(outputs.data))) outputs_.trim(0);
}

void MemoryRows::trim(int64_t length) {
  length_ = std::min(length_, length);
  projected_.trim(length_);
  outputs_.trim(length_);
}

void MemoryRows::transfer(StateArchive& archive) {
  archive.number(length_, 0, int64_t{1} << 40);
  archive.rows(projected_);
  archive.rows(outputs_);
  int64_t projected = projected_.length(), outputs = outputs_.length();
  archive.require(projected == length_ || projected == 0, "keys and values of a part");
  archive.require(outputs == length_ || outputs == 0, "outputs of a part");
  archive.require(projected + outputs >= length_, "neither keys and values nor outputs");
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

}  // namespace tandem
