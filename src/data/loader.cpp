#include "data/loader.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/json.h"
#include "data/permutation.h"

namespace tandem {

RowStream::RowStream(const DocumentStore& store, const PackRule& rule, int64_t seed, std::vector<MixPart> parts)
    : store_(store), rule_(rule), seed_(seed), parts_(std::move(parts)), packer_(rule), conversations_(rule) {
  if (parts_.empty()) parts_.push_back({.first = 0, .count = store.documents(), .weight = 1});
  cursors_.resize(parts_.size());
  if (store.tokens() == 0) throw InputError({.what = "no training text", .got = "0 tokens"});
  for (const MixPart& part : parts_) {
    if (part.first < 0 || part.count < 1 || part.first + part.count > store.documents() || !(part.weight > 0)) {
      throw LogicError({.what = "part of a mix outside the data",
                        .got = fmt::format("{} documents from {} on", part.count, part.first)});
    }
  }
}

// Webster's method: rows are given out one by one, and after any number of them the shares are those of the weights,
// rounded.
size_t RowStream::next_part() const {
  size_t best = 0;
  double least = 0;
  for (size_t i = 0; i < parts_.size(); ++i) {
    double half_row = static_cast<double>(rule_.length) / 2;
    double lead = (static_cast<double>(cursors_[i].tokens) + half_row) / parts_[i].weight;
    if (i > 0 && lead >= least) continue;
    best = i;
    least = lead;
  }
  return best;
}

int64_t RowStream::document_at(size_t part, const Cursor& cursor) const {
  // Streams of other parts are apart from those of all epochs that any run reaches.
  uint64_t stream = static_cast<uint64_t>(part) << 40 | static_cast<uint64_t>(cursor.epoch);
  Permutation order(static_cast<uint64_t>(parts_[part].count), static_cast<uint64_t>(seed_), stream);
  return parts_[part].first + static_cast<int64_t>(order(static_cast<uint64_t>(cursor.document)));
}

void RowStream::next_document(size_t part) {
  Cursor& cursor = cursors_[part];
  cursor.offset = 0;
  if (++cursor.document < parts_[part].count) return;
  cursor.document = 0;
  ++cursor.epoch;
}

void RowStream::fill_text(Batch& batch, size_t part) {
  Cursor& cursor = cursors_[part];
  packer_.clear();
  while (!packer_.full()) {
    std::span<const uint32_t> document = store_.document(document_at(part, cursor));
    std::span<const uint32_t> rest = document.subspan(static_cast<size_t>(cursor.offset));
    size_t taken = packer_.take(rest);
    cursor.offset += static_cast<int64_t>(taken);
    if (taken == rest.size()) next_document(part);
  }
  cursor.tokens += rule_.length;
  append_row(batch, packer_.ids(), packer_.segments(), rule_);
}

void RowStream::fill_conversations(Batch& batch, size_t part) {
  Cursor& cursor = cursors_[part];
  conversations_.clear();
  int64_t dropped = 0;
  for (;;) {
    auto outcome = conversations_.add(store_.document(document_at(part, cursor)));
    if (outcome == ConversationPacker::Outcome::row_full) break;
    next_document(part);
    if (outcome == ConversationPacker::Outcome::taken) {
      if (conversations_.tokens() == rule_.length) break;
    } else if (++dropped >= parts_[part].count) {
      if (conversations_.started()) break;
      throw InputError({.what = "no conversation fits into a row",
                        .got = fmt::format("rows of {} tokens", rule_.length),
                        .hint = "make model.max_seq_len larger, or set data.long_conversations = \"truncate\""});
    }
  }
  cursor.tokens += conversations_.tokens();
  conversations_.append_to(batch);
}

void RowStream::next_row(Batch& batch) {
  last_part_ = next_part();
  if (rule_.records == Records::conversations) {
    fill_conversations(batch, last_part_);
  } else {
    fill_text(batch, last_part_);
  }
}

Batch RowStream::next_batch(int64_t rows) {
  Batch batch;
  next_batch(rows, batch);
  return batch;
}

void RowStream::next_batch(int64_t rows, Batch& batch) {
  make_empty(batch, rule_);
  for (int64_t row = 0; row < rows; ++row) next_row(batch);
}

void RowStream::skip(int64_t rows) {
  for (int64_t row = 0; row < rows; ++row) {
    Batch unwanted = empty_batch(rule_);
    next_row(unwanted);
  }
}

void RowStream::go_to(const RowStream& other) {
  cursors_ = other.cursors_;
  last_part_ = other.last_part_;
}

double RowStream::epochs(size_t part) const {
  const Cursor& cursor = cursors_.at(part);
  return static_cast<double>(cursor.epoch) +
         static_cast<double>(cursor.document) / static_cast<double>(parts_[part].count);
}

OrderedJson RowStream::state() const {
  OrderedJson state = {{"parts", OrderedJson::array()}, {"seed", seed_}, {"data", store_.hash()}};
  for (const Cursor& cursor : cursors_) {
    state["parts"].push_back(
        {{"epoch", cursor.epoch}, {"document", cursor.document}, {"offset", cursor.offset}, {"tokens", cursor.tokens}});
  }
  return state;
}

Cursor RowStream::read_cursor(const Json& state, size_t part, const std::string& where) const {
  Cursor cursor{.epoch = json_int(state, "epoch", where),
                .document = json_int(state, "document", where),
                .offset = json_int(state, "offset", where),
                .tokens = json_int(state, "tokens", where)};
  constexpr int64_t kMostEpochs = int64_t{1} << 40;
  bool inside = cursor.epoch >= 0 && cursor.epoch < kMostEpochs && cursor.document >= 0 &&
                cursor.document < parts_[part].count && cursor.offset >= 0 && cursor.tokens >= 0;
  if (inside && cursor.offset > 0) {
    auto tokens = static_cast<int64_t>(store_.document(document_at(part, cursor)).size());
    inside = cursor.offset < tokens && rule_.records == Records::text;
  }
  if (!inside) {
    throw InputError(
        {.what = "cursor outside the training data",
         .where = where,
         .got = fmt::format("epoch {}, document {}, offset {}", cursor.epoch, cursor.document, cursor.offset)});
  }
  return cursor;
}

void RowStream::restore(const Json& state, const std::string& where) {
  std::string data = json_string(state, "data", where);
  if (data != store_.hash()) {
    throw InputError({.what = "checkpoint of other training data",
                      .where = where,
                      .got = data,
                      .expected = store_.hash(),
                      .hint = "the text, the tokenizer or the held-out part has changed"});
  }
  if (int64_t seed = json_int(state, "seed", where); seed != seed_) {
    throw InputError({.what = "checkpoint of another data seed",
                      .where = where,
                      .got = std::to_string(seed),
                      .expected = std::to_string(seed_)});
  }
  const Json& parts = json_at(state, "parts", where);
  if (!parts.is_array() || parts.size() != parts_.size()) {
    throw InputError({.what = "checkpoint of another mix of sources",
                      .where = where,
                      .got = parts.is_array() ? fmt::format("{} parts", parts.size()) : "no list of parts",
                      .expected = std::to_string(parts_.size())});
  }
  std::vector<Cursor> cursors;
  for (size_t i = 0; i < parts_.size(); ++i) cursors.push_back(read_cursor(parts[i], i, where));
  cursors_ = std::move(cursors);
}

}  // namespace tandem
