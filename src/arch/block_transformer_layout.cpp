#include "arch/block_transformer_layout.h"

#include <algorithm>

#include "arch/shared.h"
#include "base/error.h"

namespace tandem {

void TokenRows::clear() {
  for (auto* list : {&ids, &embedded, &expanded, &positions}) list->clear();
}

void TokenRows::add_row(bool token, int32_t vector, int64_t position) {
  embedded.push_back(token ? static_cast<int32_t>(ids.size()) - 1 : -1);
  expanded.push_back(vector);
  positions.push_back(static_cast<int32_t>(position));
}

int64_t TokenRows::open(std::span<const int32_t> vectors) {
  int64_t first = size();
  if (kind_ != TokenDecoder::prefix) {
    ids.push_back(static_cast<int32_t>(sizes_.token_bos_id));
    add_row(true, kind_ == TokenDecoder::summation ? vectors[0] : -1, 0);
    return first;
  }
  for (int64_t e = 0; e < sizes_.leading; ++e) {
    add_row(false, vectors[static_cast<size_t>(e)], places_ == TokenPositions::as_published ? 0 : e);
  }
  return first;
}

int64_t TokenRows::add(int32_t id, int64_t offset, std::span<const int32_t> vectors) {
  ids.push_back(id);
  bool summed = kind_ == TokenDecoder::summation;
  int64_t before = places_ == TokenPositions::as_published ? 1 : sizes_.leading;
  add_row(true, summed ? vectors[static_cast<size_t>(offset + 1)] : -1, before + offset);
  return size() - 1;
}

void TokenRows::fill_up(int64_t rows, int64_t id_count) {
  ids.resize(static_cast<size_t>(id_count), 0);
  for (auto* list : {&embedded, &expanded}) list->resize(static_cast<size_t>(rows), -1);
  positions.resize(static_cast<size_t>(rows), 0);
}

BlockLayout::BlockLayout(const ModelConfig& config)
    : rows(block_sizes(config), config.block.token_decoder, TokenPositions::as_trained),
      sizes_(block_sizes(config)),
      most_tokens_(config.max_seq_len) {}

void BlockLayout::build(std::span<const int32_t> ids, std::span<const int32_t> positions,
                        std::span<const TokenRange> sequences) {
  for (auto* list : {&slots, &block_positions, &contexts, &predictors}) list->clear();
  filled.clear();
  block_plan.clear(1);
  own_plan.clear(1);
  vector_plan.clear(1);
  rows.clear();
  for (const TokenRange& sequence : sequences) {
    auto first = static_cast<size_t>(sequence.begin), count = static_cast<size_t>(sequence.size());
    add_sequence(ids.subspan(first, count), positions.subspan(first, count));
  }
  blocks = static_cast<int64_t>(filled.size());
  predicted = static_cast<int64_t>(contexts.size());
  fill_up();
}

void BlockLayout::open_block(int64_t number, int64_t first, bool begins) {
  auto row = static_cast<int64_t>(filled.size());
  slots.resize(slots.size() + static_cast<size_t>(sizes_.length), static_cast<int32_t>(sizes_.pad_id));
  filled.push_back({first, first});
  block_positions.push_back(static_cast<int32_t>(number));
  if (begins) {
    block_plan.add_run(row, row + 1);
    block_plan.add_span({.source = 0, .begin = row, .end = row + 1, .shift = 0});
  } else {
    block_plan.runs.back().end = block_plan.spans.back().end = row + 1;
  }
}

void BlockLayout::open_predicted() {
  close_predicted();
  vectors_.clear();
  for (int64_t e = 0; e < sizes_.expansion; ++e) {
    vectors_.push_back(static_cast<int32_t>(static_cast<int64_t>(contexts.size()) * sizes_.expansion + e));
  }
  contexts.push_back(static_cast<int32_t>(filled.size()) - 1);
  leading_row_ = rows.open(vectors_);
  pad_row_ = token_row_ = -1;
  open_ = true;
}

void BlockLayout::close_predicted() {
  if (!open_) return;
  open_ = false;
  int64_t end = rows.size(), lead_end = leading_row_ + sizes_.leading;
  KeySpan vectors{.source = 0, .begin = vectors_.front(), .end = vectors_.back() + 1};
  vector_plan.add_run(leading_row_, end);
  vector_plan.add_span(vectors);
  if (pad_row_ < 0) {
    own_plan.add_run(leading_row_, end);
    own_plan.add_span({.source = 0, .begin = leading_row_, .end = end, .shift = 0});
    return;
  }
  // A pad asks, but is not seen, not even by itself.
  own_plan.add_run(leading_row_, lead_end);
  own_plan.add_span({.source = 0, .begin = leading_row_, .end = lead_end, .shift = 0});
  own_plan.add_run(pad_row_, pad_row_ + 1);
  own_plan.add_span({.source = 0, .begin = leading_row_, .end = lead_end});
  if (token_row_ < 0) return;
  own_plan.add_run(token_row_, end);
  own_plan.add_span({.source = 0, .begin = leading_row_, .end = lead_end});
  own_plan.add_span({.source = 0, .begin = token_row_, .end = end, .shift = 0});
}

void BlockLayout::add_sequence(std::span<const int32_t> ids, std::span<const int32_t> positions) {
  auto refuse = [&](const char* what, int64_t got, const std::string& expected) {
    throw InputError({.what = what, .where = "block_transformer", .got = fmt::format("{}", got), .expected = expected});
  };
  auto count = static_cast<int64_t>(ids.size());
  if (count > most_tokens_) refuse("row longer than the model's", count, fmt::format("at most {}", most_tokens_));
  if (count > 1 && positions[1] == positions[0]) {  // filler
    predictors.insert(predictors.end(), ids.size(), -1);
    return;
  }
  int64_t first_block = -1, number = -1, slot = -1;
  for (int64_t t = 0; t < count; ++t) {
    int64_t next = positions[static_cast<size_t>(t)] + sizes_.first_pads;
    if (next <= slot || next < 0) refuse("positions not ascending", positions[static_cast<size_t>(t)], "ascending");
    slot = next;
    BlockPlace place = place_of(slot, sizes_.length);
    if (place.block != number) {
      if (number >= 0 && place.block != number + 1) refuse("a block without tokens", number + 1, "one after the other");
      if (first_block < 0) first_block = place.block;
      number = place.block;
      open_block(number, place.offset, number == first_block);
    }
    slots[slots.size() - static_cast<size_t>(sizes_.length - place.offset)] = ids[static_cast<size_t>(t)];
    filled.back().end = place.offset + 1;
    // Who predicts what follows.
    int64_t behind = t + 1 < count ? positions[static_cast<size_t>(t + 1)] + sizes_.first_pads : slot + 1;
    BlockPlace aim = place_of(behind, sizes_.length);
    if (aim.block == number) {
      if (aim.offset != place.offset + 1) refuse("a gap inside a block", positions[static_cast<size_t>(t + 1)], "none");
      bool given = number == first_block;
      int64_t row = given ? -1 : rows.add(ids[static_cast<size_t>(t)], place.offset, vectors_);
      if (token_row_ < 0) token_row_ = row;
      predictors.push_back(static_cast<int32_t>(row));
      continue;
    }
    open_predicted();
    if (aim.offset > 0) {
      pad_row_ = rows.add(static_cast<int32_t>(sizes_.pad_id), aim.offset - 1, vectors_);
    }
    predictors.push_back(static_cast<int32_t>(rows.size() - 1));
  }
  close_predicted();
}

void BlockLayout::fill_up() {
  auto all_blocks = rounded_up(blocks), all_rows = rounded_up(rows.size());
  slots.resize(static_cast<size_t>(all_blocks * sizes_.length), static_cast<int32_t>(sizes_.pad_id));
  filled.resize(static_cast<size_t>(all_blocks));
  block_positions.resize(static_cast<size_t>(all_blocks), 0);
  if (all_blocks > blocks) block_plan.add_run(blocks, all_blocks);
  contexts.resize(static_cast<size_t>(rounded_up(predicted)), -1);
  if (all_rows > rows.size()) {
    own_plan.add_run(rows.size(), all_rows);
    vector_plan.add_run(rows.size(), all_rows);
  }
  rows.fill_up(all_rows, rounded_up(static_cast<int64_t>(rows.ids.size())));
}

std::vector<int32_t> padded_positions(const ModelConfig& config, std::span<const int64_t> ends,
                                      const std::function<int64_t(int64_t)>& draw) {
  BlockSizes sizes = block_sizes(config);
  std::vector<int32_t> positions;
  int64_t slot = 0;
  bool first = true;
  for (int64_t end : ends) {
    if (first || config.block.pad_to_block_end) {
      slot = (slot + sizes.length - 1) / sizes.length * sizes.length;
      slot += config.block.random_first_block ? draw(sizes.length) : sizes.first_pads;
      first = false;
    }
    while (static_cast<int64_t>(positions.size()) < end) {
      positions.push_back(static_cast<int32_t>(slot++ - sizes.first_pads));
    }
  }
  return positions;
}

}  // namespace tandem
