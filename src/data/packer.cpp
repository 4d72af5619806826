#include "data/packer.h"

#include <algorithm>

#include "base/error.h"

namespace tandem {

RowPacker::RowPacker(const PackRule& rule) : rule_(rule) {
  if (rule.length < 2) {
    throw InputError({.what = "row too short",
                      .where = "packing",
                      .got = std::to_string(rule.length) + " tokens",
                      .expected = "at least 2"});
  }
  clear();
}

void RowPacker::clear() {
  ids_.clear();
  segments_.clear();
  segment_ = 0;
  append(rule_.bos);
}

void RowPacker::append(int32_t id) {
  ids_.push_back(id);
  segments_.push_back(segment_);
}

size_t RowPacker::take(std::span<const uint32_t> rest) {
  if (rest.empty()) return 0;
  size_t taken = std::min(rest.size(), static_cast<size_t>(rule_.length) - ids_.size());
  for (uint32_t id : rest.first(taken)) append(static_cast<int32_t>(id));
  if (taken < rest.size()) return taken;
  int64_t free = rule_.length - static_cast<int64_t>(ids_.size());
  if (free == 1 || free > 2) append(rule_.eos);
  ++segment_;
  if (free > 2) append(rule_.bos);
  return taken;
}

std::span<const int32_t> RowPacker::ids() const {
  // The last token may be the BOS of a document that has not come; the BOS of an empty row is one as well.
  bool waiting = !full() && (ids_.size() == 1 || (segments_.back() == segment_ && ids_.back() == rule_.bos &&
                                                  segments_[segments_.size() - 2] != segment_));
  return std::span(ids_).first(ids_.size() - (waiting ? 1 : 0));
}

std::span<const int32_t> RowPacker::segments() const { return std::span(segments_).first(ids().size()); }

Batch empty_batch(int64_t length) {
  Batch batch;
  batch.length = length;
  return batch;
}

void append_row(Batch& batch, std::span<const int32_t> ids, std::span<const int32_t> segments, const PackRule& rule) {
  size_t length = static_cast<size_t>(batch.length);
  if (ids.size() != length || segments.size() != length) {
    throw LogicError(
        {.what = "row of another length", .got = std::to_string(ids.size()), .expected = std::to_string(batch.length)});
  }
  ++batch.rows;
  batch.ids.insert(batch.ids.end(), ids.begin(), ids.end());
  batch.segments.insert(batch.segments.end(), segments.begin(), segments.end());
  for (size_t t = 0; t < length; ++t) {
    bool ignored = t + 1 == length || ids[t] == rule.bos || ids[t] == rule.eos;
    batch.positions.push_back(static_cast<int32_t>(t));
    batch.labels.push_back(ignored ? kIgnoreLabel : ids[t + 1]);
  }
}

}  // namespace tandem
