#include "arch/yoco_state.h"

#include <algorithm>

#include "arch/state_archive.h"

namespace tandem {

YocoState::YocoState(YocoCaches& caches, const ModelConfig& config)
    : recent(caches.recent, config.self_decoder == SelfDecoder::sliding_window ? config.window - 1 : 1),
      shared(caches.shared),
      recent_tokens_(config.self_decoder == SelfDecoder::sliding_window ? config.window - 1 : kPageTokens),
      whole_tile_(config.self_decoder == SelfDecoder::gated_retention) {}

StateBytes YocoState::token_bytes() const {
  int64_t tokens = whole_tile_ && length() > 0 ? recent_tokens_ : std::min(length(), recent_tokens_);
  return StateBytes::of_one_form(tokens * recent.pool().row_bytes() + shared.bytes());
}

StateBytes YocoState::page_bytes() const { return StateBytes::of_one_form(recent.page_bytes() + shared.page_bytes()); }

std::span<const int32_t> YocoState::pending() const {
  return std::span(ids_).last(static_cast<size_t>(length() - recent.length()));
}

void YocoState::restored() {
  if (block_ > 0) return;
  recent.unpin();
  ids_.clear();
}

void YocoState::note_written(std::span<const int32_t> ids) {
  if (block_ == 0 && !recent.pinned()) recent.pin();
  ids_.insert(ids_.end(), ids.begin(), ids.end());
  block_ += static_cast<int64_t>(ids.size());
}

void YocoState::unwrite(int64_t count) {
  count = std::min(count, block_);
  if (count == 0) return;  // and the room for what comes stays
  block_ -= count;
  shared.trim(length() - count);
  ids_.resize(ids_.size() - static_cast<size_t>(count));
  if (recent.length() <= length()) return;
  recent.trim(recent.can_trim(length()) ? length() : recent.pinned_length());
}

bool YocoState::keep_read(int64_t length) {
  if (length > recent.length()) {
    ids_.resize(ids_.size() - static_cast<size_t>(shared.length() - length));
    shared.trim(length);
    return true;
  }
  if (!recent.can_trim(length)) return false;
  shared.trim(length);
  recent.trim(length);
  recent.unpin();
  ids_.clear();
  return true;
}

void YocoState::close_block() {
  block_ = 0;
  if (pending().empty()) restored();
}

void YocoState::transfer(StateArchive& archive) {
  archive.rows(shared);
  archive.rows(recent);
  archive.ids(ids_);
  archive.number(block_, 0, shared.length());
  auto known = static_cast<int64_t>(ids_.size());
  archive.require(recent.length() <= length() && length() - recent.length() <= known, "tokens that nobody has seen");
  archive.require(recent.pinned() ? recent.pinned_length() + known == length() : known == 0,
                  "another number of tokens than of ids");
  archive.require(block_ == 0 || block_ == known, "a block that begins elsewhere");
}

bool YocoState::make_room(int64_t count) {
  auto again = static_cast<int64_t>(pending().size());
  ids_.reserve(ids_.size() + static_cast<size_t>(count));
  if (!shared.reserve(count)) return false;
  if (recent.reserve(again + count)) return true;
  shared.trim(shared.length());
  return false;
}

}  // namespace tandem
