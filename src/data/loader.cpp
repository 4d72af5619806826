#include "data/loader.h"

#include <fmt/format.h>

#include "base/error.h"
#include "data/permutation.h"

namespace tandem {

RowStream::RowStream(const ShardSet& shards, const PackRule& rule, int64_t seed)
    : shards_(shards), rule_(rule), seed_(seed), packer_(rule) {
  if (shards.tokens() == 0) throw InputError({.what = "no training text", .got = "0 tokens"});
}

void RowStream::next_row(Batch& batch) {
  packer_.clear();
  auto documents = static_cast<uint64_t>(shards_.documents());
  while (!packer_.full()) {
    Permutation order(documents, static_cast<uint64_t>(seed_), static_cast<uint64_t>(cursor_.epoch));
    auto index = static_cast<int64_t>(order(static_cast<uint64_t>(cursor_.document)));
    std::span<const uint32_t> rest = shards_.document(index).subspan(static_cast<size_t>(cursor_.offset));
    size_t taken = packer_.take(rest);
    cursor_.offset += static_cast<int64_t>(taken);
    if (taken < rest.size()) continue;
    cursor_.offset = 0;
    if (++cursor_.document == shards_.documents()) {
      cursor_.document = 0;
      ++cursor_.epoch;
    }
  }
  append_row(batch, packer_.ids(), packer_.segments(), rule_);
}

Batch RowStream::next_batch(int64_t rows) {
  Batch batch = empty_batch(rule_.length);
  for (int64_t row = 0; row < rows; ++row) next_row(batch);
  return batch;
}

double RowStream::epochs() const {
  return static_cast<double>(cursor_.epoch) +
         static_cast<double>(cursor_.document) / static_cast<double>(shards_.documents());
}

OrderedJson RowStream::state() const {
  return {{"epoch", cursor_.epoch},
          {"document", cursor_.document},
          {"offset", cursor_.offset},
          {"seed", seed_},
          {"data", shards_.hash()}};
}

void RowStream::restore(const Json& state, const std::string& where) {
  std::string data = json_string(state, "data", where);
  if (data != shards_.hash()) {
    throw InputError({.what = "checkpoint of other training data",
                      .where = where,
                      .got = data,
                      .expected = shards_.hash(),
                      .hint = "the text, the tokenizer or the held-out part has changed"});
  }
  if (int64_t seed = json_int(state, "seed", where); seed != seed_) {
    throw InputError({.what = "checkpoint of another data seed",
                      .where = where,
                      .got = std::to_string(seed),
                      .expected = std::to_string(seed_)});
  }
  Cursor cursor{.epoch = json_int(state, "epoch", where),
                .document = json_int(state, "document", where),
                .offset = json_int(state, "offset", where)};
  bool inside = cursor.epoch >= 0 && cursor.document >= 0 && cursor.document < shards_.documents();
  if (inside) {
    Permutation order(static_cast<uint64_t>(shards_.documents()), static_cast<uint64_t>(seed_),
                      static_cast<uint64_t>(cursor.epoch));
    auto index = static_cast<int64_t>(order(static_cast<uint64_t>(cursor.document)));
    auto tokens = static_cast<int64_t>(shards_.document(index).size());
    inside = cursor.offset >= 0 && (cursor.offset < tokens || cursor.offset == 0);
  }
  if (!inside) {
    throw InputError(
        {.what = "cursor outside the training data",
         .where = where,
         .got = fmt::format("epoch {}, document {}, offset {}", cursor.epoch, cursor.document, cursor.offset)});
  }
  cursor_ = cursor;
}

}  // namespace tandem
