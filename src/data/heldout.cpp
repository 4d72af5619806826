#include "data/heldout.h"

#include <algorithm>

#include "base/error.h"

namespace tandem {
namespace {

// Rows of all documents; with no complete row the unfinished one, if it has a token.
Batch pack_text(const HeldOut::EachDocument& each_document, const PackRule& rule) {
  RowPacker packer(rule);
  Batch rows = empty_batch(rule);
  each_document([&](std::span<const uint32_t> rest) {
    while (!rest.empty()) {
      rest = rest.subspan(packer.take(rest));
      if (!packer.full()) continue;
      append_row(rows, packer.ids(), packer.segments(), rule);
      packer.clear();
    }
  });
  if (rows.rows == 0 && packer.started()) {
    rows.length = static_cast<int64_t>(packer.ids().size());
    append_row(rows, packer.ids(), packer.segments(), rule);
  }
  return rows;
}

// Rows of all conversations that fit.
Batch pack_conversations(const HeldOut::EachDocument& each_document, const PackRule& rule) {
  ConversationPacker packer(rule);
  Batch rows = empty_batch(rule);
  each_document([&](std::span<const uint32_t> conversation) {
    if (packer.add(conversation) != ConversationPacker::Outcome::row_full) return;
    packer.append_to(rows);
    packer.add(conversation);
  });
  if (packer.started()) packer.append_to(rows);
  return rows;
}

Batch pack_all(const HeldOut::EachDocument& each_document, const PackRule& rule) {
  return rule.records == Records::conversations ? pack_conversations(each_document, rule)
                                                : pack_text(each_document, rule);
}

// The same rows without any.
Batch like(const Batch& rows) {
  Batch batch = empty_batch(rows.length);
  batch.isolated = rows.isolated;
  batch.objective = rows.objective;
  return batch;
}

}  // namespace

std::vector<int32_t> token_byte_lengths(const Tokenizer& tokenizer) { return tokenizer.text_bytes(); }

HeldOut::HeldOut(const ShardSet& shards, const PackRule& rule, const std::vector<int32_t>& token_bytes,
                 int64_t max_rows)
    : HeldOut(
          [&](const Visit& visit) {
            for (int64_t document = 0; document < shards.documents(); ++document) visit(shards.document(document));
          },
          rule, token_bytes, max_rows) {}

HeldOut::HeldOut(const EachDocument& each_document, const PackRule& rule, const std::vector<int32_t>& token_bytes,
                 int64_t max_rows)
    : rows_(pack_all(each_document, rule)), token_bytes_(token_bytes) {
  if (max_rows > 0 && rows_.rows > max_rows) {
    Batch chosen = like(rows_);
    for (int64_t i = 0; i < max_rows; ++i) append_copy(chosen, rows_, i * rows_.rows / max_rows);
    rows_ = std::move(chosen);
  }
  labelled_ = rows_.labelled();
  if (labelled_ == 0) {
    throw InputError({.what = "held-out text too short",
                      .got = std::to_string(rows_.tokens()) + " tokens in rows",
                      .expected = "a row with a token that is predicted",
                      .hint = "give more text, or a held-out file (data.heldout)"});
  }
}

int64_t HeldOut::text_bytes(std::span<const int32_t> labels) const {
  int64_t bytes = 0;
  for (int32_t label : labels) {
    bool known = label >= 0 && label < static_cast<int64_t>(token_bytes_.size());
    if (known) bytes += token_bytes_[static_cast<size_t>(label)];
  }
  return bytes;
}

Batch HeldOut::batch(int64_t first, int64_t count) const {
  Batch batch = like(rows_);
  for (int64_t row = first; row < std::min(first + count, rows_.rows); ++row) append_copy(batch, rows_, row);
  return batch;
}

}  // namespace tandem
