#include "arch/waking_rows.h"

#include "kernels/copy_rows.h"

namespace tandem {

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
  int64_t count = memory.length_ - memory.projected_.length();
  memory.caches_->counts().woken += count;
  memory.projected_.append(count, slots_);
}

Var WakingRows::vectors(Tape& tape) const {
  const Tensor& column = outputs_->column(0);
  auto count = static_cast<int64_t>(rows_.size());
  Tensor vectors = tape.arena().tensor(column.dtype, {count, column.row_size()});
  kernels::gather_rows(tape.context(), vectors, column, rows_);
  return tape.constant(vectors);
}

}  // namespace tandem
