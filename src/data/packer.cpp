#include "data/packer.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "data/shard.h"

namespace tandem {

namespace {

void check_length(const PackRule& rule) {
  if (rule.length >= 2) return;
  throw InputError({.what = "row too short",
                    .where = "packing",
                    .got = std::to_string(rule.length) + " tokens",
                    .expected = "at least 2"});
}

// From 0 in the row, or in each of its segments.
void append_positions(Batch& batch, std::span<const int32_t> segments, bool isolated) {
  int32_t position = 0;
  for (size_t t = 0; t < segments.size(); ++t) {
    if (isolated && t > 0 && segments[t] != segments[t - 1]) position = 0;
    batch.positions.push_back(position++);
  }
}

// The first token to keep of a conversation that is too long: as many as fit behind BOS, the last response among them
// with something before it. 0: it cannot be kept.
size_t first_kept(std::span<const uint32_t> stored, size_t length) {
  size_t last_prompt = stored.size();
  while (last_prompt > 0 && in_response(stored[last_prompt - 1])) --last_prompt;
  // What follows the last response (a message that nobody answers) is kept as well: the end stays as it is.
  if (last_prompt == stored.size()) {
    while (last_prompt > 0 && !in_response(stored[last_prompt - 1])) --last_prompt;
    while (last_prompt > 0 && in_response(stored[last_prompt - 1])) --last_prompt;
  }
  size_t first = stored.size() - (length - 1);
  return first < last_prompt ? first : 0;
}

}  // namespace

RowPacker::RowPacker(const PackRule& rule) : rule_(rule) {
  check_length(rule);
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

ConversationPacker::ConversationPacker(const PackRule& rule) : rule_(rule) { check_length(rule); }

void ConversationPacker::clear() {
  ids_.clear();
  segments_.clear();
  roles_.clear();
  segment_ = 0;
}

void ConversationPacker::append(uint32_t stored, Role role) {
  ids_.push_back(token_id(stored));
  segments_.push_back(segment_);
  roles_.push_back(role);
}

ConversationPacker::Outcome ConversationPacker::add(std::span<const uint32_t> stored) {
  auto length = static_cast<size_t>(rule_.length);
  size_t first = 0;
  if (stored.size() > length) {
    if (rule_.long_conversations == LongConversations::truncate) first = first_kept(stored, length);
    if (first == 0) return Outcome::dropped;
  }
  size_t kept = first == 0 ? stored.size() : length;
  if (ids_.size() + kept > length) return Outcome::row_full;
  if (first > 0) {
    append(static_cast<uint32_t>(rule_.bos), Role::prompt);
    ++truncated_;
  }
  // A response without its opening token is not one that could be asked for: what is left of it is read as prompt.
  bool cut_response = first > 0;
  for (uint32_t token : stored.subspan(first)) {
    cut_response = cut_response && in_response(token) && token_id(token) != rule_.assistant;
    append(token, in_response(token) && !cut_response ? Role::response : Role::prompt);
  }
  ++segment_;
  return Outcome::taken;
}

void ConversationPacker::append_to(Batch& batch) {
  auto length = static_cast<size_t>(rule_.length);
  ids_.resize(length, rule_.pad);
  roles_.resize(length, Role::padding);
  segments_.resize(length, segment_);
  ++batch.rows;
  batch.ids.insert(batch.ids.end(), ids_.begin(), ids_.end());
  batch.segments.insert(batch.segments.end(), segments_.begin(), segments_.end());
  batch.roles.insert(batch.roles.end(), roles_.begin(), roles_.end());
  append_positions(batch, segments_, true);
  for (size_t t = 0; t < length; ++t) {
    bool follows = t + 1 < length && segments_[t + 1] == segments_[t];
    batch.labels.push_back(follows ? conversation_label(ids_[t + 1], roles_[t + 1], rule_) : kIgnoreLabel);
  }
  clear();
}

int32_t conversation_label(int32_t next, Role next_role, const PackRule& rule) {
  return next_role == Role::response && next != rule.assistant ? next : kIgnoreLabel;
}

Batch empty_batch(int64_t length) {
  Batch batch;
  batch.length = length;
  return batch;
}

Batch empty_batch(const PackRule& rule) {
  Batch batch = empty_batch(rule.length);
  bool conversations = rule.records == Records::conversations;
  batch.isolated = rule.isolated || conversations;
  if (conversations) batch.objective = Objective::conversation;
  return batch;
}

void make_empty(Batch& batch, const PackRule& rule) {
  Batch old = std::exchange(batch, empty_batch(rule));
  auto keep = [](auto& list, auto& memory) {
    memory.clear();
    list = std::move(memory);
  };
  for (auto list : {&Batch::ids, &Batch::positions, &Batch::segments, &Batch::labels, &Batch::boundaries}) {
    keep(batch.*list, old.*list);
  }
  keep(batch.roles, old.roles);
  for (auto list : {&ReaderSide::ids, &ReaderSide::positions}) keep(batch.reader.*list, old.reader.*list);
  for (auto list : {&WriterSide::ids, &WriterSide::positions, &WriterSide::labels}) {
    keep(batch.writer.*list, old.writer.*list);
  }
  keep(batch.writer.blocks, old.writer.blocks);
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
  append_positions(batch, segments, rule.isolated);
  for (size_t t = 0; t < length; ++t) {
    bool ignored = t + 1 == length || ids[t] == rule.bos || ids[t] == rule.eos;
    ignored = ignored || (rule.isolated && segments[t + 1] != segments[t]);
    batch.labels.push_back(ignored ? kIgnoreLabel : ids[t + 1]);
  }
}

void append_copy(Batch& to, const Batch& from, int64_t row) {
  auto copy = [&](auto values) {
    if ((from.*values).empty()) return;
    auto begin = (from.*values).begin() + row * from.length;
    (to.*values).insert((to.*values).end(), begin, begin + from.length);
  };
  copy(&Batch::ids);
  copy(&Batch::positions);
  copy(&Batch::segments);
  copy(&Batch::labels);
  copy(&Batch::roles);
  ++to.rows;
}

}  // namespace tandem
