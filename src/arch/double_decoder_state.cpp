#include "arch/double_decoder_state.h"

#include <algorithm>

namespace tandem {

DoubleDecoderCaches::DoubleDecoderCaches(const CacheOptions& options,
                                         const std::vector<PagePool::Column>& memory_columns,
                                         const std::vector<PagePool::Column>& output_columns,
                                         const std::vector<PagePool::Column>& own_columns,
                                         const std::vector<PagePool::Column>& encoder_columns)
    : Caches(options),
      memory(budget_, memory_columns, options.tokens),
      outputs(budget_, output_columns, options.tokens),
      own(budget_, own_columns, options.tokens),
      encoder(budget_, encoder_columns, options.tokens) {}

DoubleDecoderState::DoubleDecoderState(DoubleDecoderCaches& caches)
    : memory(caches.memory, caches.outputs, caches.options().keep_outputs),
      own(caches.own),
      encoder(caches.encoder),
      policy(caches.options().encoder) {}

void DoubleDecoderState::unwrite(int64_t count) {
  own.trim(own.length() - count);
  own_ids.resize(static_cast<size_t>(own.length()));
}

// A block that opens a text stands where its first token was read already.
bool DoubleDecoderState::keep_read(int64_t length) {
  memory.trim(length);
  encoder.trim(length);
  read_ids.resize(static_cast<size_t>(memory.length()));
  block_begin = memory.length();
  return true;
}

std::vector<int32_t> DoubleDecoderState::unread_block() const {
  int64_t known = std::min(memory.length() - block_begin, own.length());
  return {own_ids.begin() + known, own_ids.end()};
}

void DoubleDecoderState::close_block() {
  own.trim(0);
  own_ids.clear();
  block_begin = memory.length();
}

void DoubleDecoderState::settle() {
  if (policy == EncoderState::recompute) encoder.trim(0);
}

void DoubleDecoderState::rest() {
  memory.rest();
  if (memory.resting()) encoder.trim(0);
}

bool DoubleDecoderState::reserve_read(int64_t count) {
  if (count == 0) return true;
  if (!memory.reserve(count)) return false;
  if (encoder.reserve(dropped() + count)) return true;
  memory.trim(memory.length());
  return false;
}

bool DoubleDecoderState::reserve_write(int64_t count) {
  // Nothing was read before: the first token will be.
  return own.reserve(count) && (memory.length() > 0 ? memory.reserve(0) : reserve_read(count > 0 ? 1 : 0));
}

}  // namespace tandem
