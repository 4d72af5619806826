#include "train/row_share.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"

namespace tandem {
namespace {

template <class T>
std::vector<T> part(const std::vector<T>& all, int64_t begin, int64_t end) {
  if (all.empty()) return {};
  return {all.begin() + begin, all.begin() + end};
}

// Those that begin in [begin, end), counted from there.
std::vector<int32_t> moved(const std::vector<int32_t>& all, int64_t begin, int64_t end) {
  std::vector<int32_t> out;
  for (int32_t at : all) {
    if (at >= begin && at < end) out.push_back(static_cast<int32_t>(at - begin));
  }
  return out;
}

std::vector<TokenRange> moved(const std::vector<TokenRange>& all, int64_t begin, int64_t end) {
  std::vector<TokenRange> out;
  for (const TokenRange& range : all) {
    if (range.begin >= begin && range.begin < end) out.push_back({range.begin - begin, range.end - begin});
  }
  return out;
}

// Rows [begin, end) without the two sides.
Batch plain_rows(const Batch& all, int64_t begin, int64_t end) {
  int64_t from = begin * all.length, to = end * all.length;
  Batch out;
  out.rows = end - begin;
  out.length = all.length;
  out.isolated = all.isolated;
  out.objective = all.objective;
  out.ids = part(all.ids, from, to);
  out.positions = part(all.positions, from, to);
  out.segments = part(all.segments, from, to);
  out.labels = part(all.labels, from, to);
  out.roles = part(all.roles, from, to);
  out.boundaries = moved(all.boundaries, from, to);
  out.spans = moved(all.spans, from, to);
  return out;
}

// How much of the two sides the first rows make up.
struct SideCounts {
  int64_t reader_tokens = 0;
  int64_t sequences = 0;
  int64_t writer_tokens = 0;
  int64_t blocks = 0;
};

SideCounts counts_of(const Batch& batch) {
  auto size = [](const auto& list) { return static_cast<int64_t>(list.size()); };
  return {size(batch.reader.ids), size(batch.reader.sequences), size(batch.writer.ids), size(batch.writer.blocks)};
}

// Sides are laid out row after row: what the rows before `end` make of them is what they make of them alone.
SideCounts counts_before(const Model& model, const Batch& packed, const Batch& prepared, int64_t end) {
  if (end == 0) return {};
  if (end == packed.rows) return counts_of(prepared);
  Batch first = plain_rows(packed, 0, end);
  first.spans = moved(prepared.spans, 0, end * packed.length);
  first.prefixes = part(prepared.prefixes, 0, static_cast<int64_t>(first.texts().size()));
  Rng unused(0, 0);
  model.prepare(first, unused);
  return counts_of(first);
}

void take_sides(Batch& out, const Batch& all, const SideCounts& from, const SideCounts& to) {
  out.two_sided = true;
  out.reader.ids = part(all.reader.ids, from.reader_tokens, to.reader_tokens);
  out.reader.positions = part(all.reader.positions, from.reader_tokens, to.reader_tokens);
  out.reader.sequences =
      moved(part(all.reader.sequences, from.sequences, to.sequences), from.reader_tokens, to.reader_tokens);
  out.writer.ids = part(all.writer.ids, from.writer_tokens, to.writer_tokens);
  out.writer.positions = part(all.writer.positions, from.writer_tokens, to.writer_tokens);
  out.writer.labels = part(all.writer.labels, from.writer_tokens, to.writer_tokens);
  for (WriterBlock block : part(all.writer.blocks, from.blocks, to.blocks)) {
    block.tokens = {block.tokens.begin - from.writer_tokens, block.tokens.end - from.writer_tokens};
    block.reads = {block.reads.begin - from.reader_tokens, block.reads.end - from.reader_tokens};
    out.writer.blocks.push_back(block);
  }
}

}  // namespace

RowShare share_of_rows(int64_t micro_batch, int64_t grad_accum, int rank, int ranks) {
  int64_t groups = std::gcd(grad_accum, int64_t{ranks}), sharers = ranks / groups;
  if (micro_batch % sharers != 0) {
    int64_t rows = micro_batch * grad_accum;
    throw InputError(
        {.what = "the rows of a step can't be shared out evenly",
         .got = fmt::format("{} ranks for micro_batch {} times grad_accum {}", ranks, micro_batch, grad_accum),
         .expected = rows % ranks == 0 ? "whole micro-batches, or equal parts of each"
                                       : fmt::format("a number of ranks that divides {}", rows)});
  }
  int64_t passes = grad_accum / groups, rows = micro_batch / sharers;
  return {.first_pass = rank / sharers * passes, .passes = passes, .first_row = rank % sharers * rows, .rows = rows};
}

Batch rows_of_prepared(const Model& model, const Batch& packed, const Batch& prepared, int64_t begin, int64_t end) {
  if (begin == 0 && end == prepared.rows) return prepared;
  Batch out = plain_rows(prepared, begin, end);
  if (!prepared.prefixes.empty()) {
    auto texts = [&](int64_t rows) { return static_cast<int64_t>(plain_rows(packed, 0, rows).texts().size()); };
    out.prefixes = part(prepared.prefixes, texts(begin), texts(end));
  }
  if (!prepared.two_sided) return out;
  take_sides(out, prepared, counts_before(model, packed, prepared, begin), counts_before(model, packed, prepared, end));
  return out;
}

}  // namespace tandem
