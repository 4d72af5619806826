// What a YOCO model keeps of a sequence.
#pragma once

#include "arch/config.h"
#include "arch/state.h"
#include "cache/paged_rows.h"
#include "cache/recent_rows.h"

namespace tandem {

class YocoCaches final : public Caches {
 public:
  YocoCaches(const CacheOptions& options, std::vector<PagePool::Column> recent_columns,
             std::vector<PagePool::Column> shared_columns)
      : Caches(options),
        recent(budget_, std::move(recent_columns), options.tokens),
        shared(budget_, std::move(shared_columns), options.tokens) {}
  PagePool recent;  // of the lower half's layers
  PagePool shared;  // keys and values of its output, for all layers of the upper half
};

// The lower half's state goes back to the latest tokens only. Tokens of the open block that are taken back further are
// forgotten down to where the block began, and those that stay are pending: the lower half goes over them again before
// anything comes behind them. The shared keys and values are those of every token.
class YocoState final : public State {
 public:
  YocoState(YocoCaches& caches, const ModelConfig& config);
  YocoState(const YocoState&) = default;

  RecentRows recent;
  PagedRows shared;

  int64_t length() const override { return shared.length(); }
  int64_t written() const override { return block_; }
  StateBytes token_bytes() const override;
  StateBytes page_bytes() const override;
  std::unique_ptr<State> fork() const override { return std::make_unique<YocoState>(*this); }
  bool unshare() override { return recent.unshare() && shared.unshare(); }
  void unwrite(int64_t count) override;
  bool keep_read(int64_t length) override;
  std::vector<int32_t> unread_block() const override { return {}; }
  void close_block() override;
  int64_t end_of_read(int64_t count) const override { return length() + count; }
  int64_t end_of_write(int64_t count) const override { return length() + count; }
  bool reserve_read(int64_t count) override { return make_room(count); }
  bool reserve_write(int64_t count) override { return make_room(count); }
  void transfer(StateArchive& archive) override;

  // Tokens behind the lower half's state that it has yet to see again.
  std::span<const int32_t> pending() const;
  void restored();                                  // it has seen them
  void note_written(std::span<const int32_t> ids);  // before they are appended

 private:
  bool make_room(int64_t count);

  int64_t recent_tokens_;  // what the lower half needs: tokens, or one tile whose state comes with it
  bool whole_tile_;
  int64_t block_ = 0;
  std::vector<int32_t> ids_;  // written since recent was pinned, as long as they may have to be seen again
};

}  // namespace tandem
