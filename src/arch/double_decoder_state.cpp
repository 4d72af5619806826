#include "arch/double_decoder_state.h"

#include <algorithm>

#include "arch/state_archive.h"
#include "base/error.h"

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
      encoder(budget_, encoder_columns, options.tokens) {
  if (options.encoder != EncoderState::spill) return;
  if (options.spill_folder.empty()) throw InputError({.what = "no folder for the encoder states to be spilled to"});
  spill = std::make_shared<SpillFolder>(options.spill_folder);
}

DoubleDecoderState::DoubleDecoderState(DoubleDecoderCaches& all)
    : memory(all, all.memory, all.outputs), own(all.own), encoder(all.encoder), spilled(all.spill), caches(&all) {}

void DoubleDecoderState::unwrite(int64_t count) {
  if (count == 0) return;
  own.trim(own.length() - count);
  own_ids.resize(static_cast<size_t>(own.length()));
}

// A block that opens a text stands where its first token was read already.
bool DoubleDecoderState::keep_read(int64_t length) {
  at_once = false;
  memory.trim(length);
  encoder.trim(length);
  spilled.trim(length);
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
  if (caches->options().encoder == EncoderState::keep) return;
  spilled.write(encoder);  // where it fails, as if there were no files: reading on computes
  encoder.trim(0);
}

// What goes to files has to be held first.
bool DoubleDecoderState::read_at_once() {
  at_once = memory.length() == 0 && caches->options().encoder == EncoderState::recompute;
  return at_once;
}

void DoubleDecoderState::rest() {
  memory.rest();
  if (!memory.resting()) return;
  spilled.write(encoder);
  encoder.trim(0);
}

void DoubleDecoderState::restore_spilled() {
  if (dropped() == 0) return;
  int64_t before = encoder.length();
  spilled.read(encoder);
  caches->counts().restored += encoder.length() - before;
}

void DoubleDecoderState::transfer(StateArchive& archive) {
  archive.ids(read_ids);
  archive.ids(own_ids);
  memory.transfer(archive);
  archive.rows(own);
  archive.rows(encoder);
  archive.number(block_begin, 0, memory.length());
  archive.require(memory.length() == static_cast<int64_t>(read_ids.size()), "another number of tokens than of ids");
  archive.require(own.length() == static_cast<int64_t>(own_ids.size()), "another number of tokens than of ids");
  archive.require(encoder.length() <= memory.length(), "an encoder that has read more than was read");
  // A block stands behind what was read, or opens a text with the one token that was.
  archive.require(block_begin == memory.length() || memory.length() == 1, "a block in the middle of what was read");
}

bool DoubleDecoderState::reserve_read(int64_t count) {
  if (count == 0) return true;
  if (!memory.reserve(count)) return false;
  if (at_once || encoder.reserve(dropped() + count)) return true;
  memory.trim(memory.length());
  return false;
}

bool DoubleDecoderState::reserve_write(int64_t count) {
  own_ids.reserve(own_ids.size() + static_cast<size_t>(count));
  // Nothing was read before: the first token will be.
  return own.reserve(count) && (memory.length() > 0 ? memory.reserve(0) : reserve_read(count > 0 ? 1 : 0));
}

}  // namespace tandem
