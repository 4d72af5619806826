// What a double decoder keeps of a sequence: docs/generation.md, "Where a sequence lives".
#pragma once

#include "arch/memory_rows.h"
#include "arch/state.h"
#include "cache/spilled_rows.h"

namespace tandem {

struct DoubleDecoderCaches final : Caches {
  DoubleDecoderCaches(const CacheOptions& options, const std::vector<PagePool::Column>& memory_columns,
                      const std::vector<PagePool::Column>& output_columns,
                      const std::vector<PagePool::Column>& own_columns,
                      const std::vector<PagePool::Column>& encoder_columns);
  PagePool memory;                     // per projection: keys and values of the encoder's output
  PagePool outputs;                    // the encoder's output
  PagePool own;                        // per decoder layer: of the block being written
  PagePool encoder;                    // per encoder layer: its own keys and values
  std::shared_ptr<SpillFolder> spill;  // null: nothing is spilled
};

struct DoubleDecoderState final : State {
  explicit DoubleDecoderState(DoubleDecoderCaches& all);

  MemoryRows memory;  // as long as what was read
  PagedRows own;
  PagedRows encoder;    // a beginning of what was read
  SpilledRows spilled;  // of the encoder's rows
  DoubleDecoderCaches* caches;
  std::vector<int32_t> read_ids;
  std::vector<int32_t> own_ids;
  int64_t block_begin = 0;  // position of the block's first token
  bool at_once = false;     // the next pass reads all there is, and keeps no encoder rows

  int64_t length() const override { return std::max(memory.length(), block_begin + own.length()); }
  int64_t written() const override { return own.length(); }
  StateBytes token_bytes() const override { return memory.token_bytes(own, encoder.bytes()); }
  StateBytes page_bytes() const override { return memory.page_bytes(own, encoder.page_bytes()); }
  std::unique_ptr<State> fork() const override { return std::make_unique<DoubleDecoderState>(*this); }
  bool unshare() override { return memory.unshare() && own.unshare() && encoder.unshare(); }
  void unwrite(int64_t count) override;
  bool keep_read(int64_t length) override;
  std::vector<int32_t> unread_block() const override;
  void close_block() override;
  void settle() override;
  void rest() override;
  bool read_at_once() override;
  bool resting() const override { return memory.resting(); }
  int64_t end_of_read(int64_t count) const override { return memory.length() + count; }
  int64_t end_of_write(int64_t count) const override { return block_begin + own.length() + count; }
  bool reserve_read(int64_t count) override;
  bool reserve_write(int64_t count) override;
  void transfer(StateArchive& archive) override;
  bool reserve(int64_t read, int64_t write) override { return reserve_read(read) && reserve_write(write); }

  void restore_spilled();  // what the encoder dropped, as far as it is in files; there is room
  int64_t dropped() const { return memory.length() - encoder.length(); }  // tokens without encoder state
};

}  // namespace tandem
