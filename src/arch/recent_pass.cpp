#include "arch/recent_pass.h"

#include <algorithm>
#include <cstring>

#include "kernels/copy_rows.h"

namespace tandem {

static_assert(kRetentionTile == kPageTokens);  // a page is a tile

std::vector<PagePool::Column> recent_columns(const ModelConfig& config, DType activation, DType wide) {
  std::vector<PagePool::Column> columns;
  int64_t heads = config.self_heads(), size = config.self_head_size();
  for (int64_t i = 0; i < config.n_encoder_layers; ++i) {
    columns.insert(columns.end(), 2, {activation, heads, size});
    if (config.self_decoder != SelfDecoder::gated_retention) continue;
    columns.push_back({wide, heads, 1});
    columns.push_back({wide, heads, (size * size + kPageTokens - 1) / kPageTokens});
  }
  return columns;
}

void RecentPass::clear(bool reads) {
  reads_ = reads;
  ids.clear();
  positions.clear();
  window_plan_.clear(1);
  window_plan_.order = reads ? QueryOrder::by_tile : QueryOrder::by_query;
  retention_plan_.clear(window_plan_.order);
  slots_.clear();
  gather_.clear();
  loaded_.clear();
  stored_.clear();
}

void RecentPass::add(std::span<const int32_t> tokens, RecentRows& rows) {
  auto count = static_cast<int64_t>(tokens.size());
  if (count == 0) return;
  const int64_t before = rows.length(), first = size();
  ids.insert(ids.end(), tokens.begin(), tokens.end());
  for (int64_t i = 0; i < count; ++i) positions.push_back(static_cast<int32_t>(before + i));
  const int64_t history = rows.needed_from();
  reads_ ? rows.append_latest(count) : rows.append_in_place(count);
  for (int64_t t = before; t < before + count; ++t) slots_.push_back(rows.has(t) ? rows.row(t) : -1);
  if (!reads_) return has_window() ? write_window(rows, before, count) : write_retention(rows, before, count);
  // Copies begin with a whole page of the sequence's, so that its tiles are the same however it was cut.
  while (gather_.size() % kPageTokens != 0) gather_.push_back(-1);
  auto at = static_cast<int64_t>(gather_.size());
  for (int64_t t = history; t < before; ++t) gather_.push_back(rows.row(t));
  for (int64_t i = 0; i < count; ++i) gather_.push_back(kernels::fresh_row(first + i));
  has_window() ? read_window(before, count, at, history) : read_retention(rows, before, count, at, history);
}

void RecentPass::read_window(int64_t before, int64_t count, int64_t at, int64_t history) {
  const int64_t first = size() - count;
  window_plan_.add_run(first, first + count);
  window_plan_.add_span({.source = 0,
                         .begin = at,
                         .end = at + before - history + count,
                         .shift = at + before - history - first,
                         .window = config_.window});
}

void RecentPass::write_window(const RecentRows& rows, int64_t before, int64_t count) {
  const int64_t first = size() - count, length = before + count;
  int64_t seen = std::max<int64_t>(0, before + 1 - config_.window);
  window_plan_.add_run(first, first + count);
  // A span for each page, wherever it lies: its keys are a tile.
  for (int64_t begin = seen / kPageTokens * kPageTokens; begin < length; begin += kPageTokens) {
    int64_t row = rows.row(begin), end = std::min(length, begin + kPageTokens);
    window_plan_.add_span({.source = 0,
                           .begin = row,
                           .end = row + end - begin,
                           .shift = row - begin + before - first,
                           .window = config_.window});
  }
}

void RecentPass::read_retention(const RecentRows& rows, int64_t before, int64_t count, int64_t at, int64_t history) {
  const int64_t first = size() - count, length = before + count;
  retention_plan_.begin_sequence();
  for (int64_t begin = history; begin < length; begin += kRetentionTile) {
    auto state = static_cast<int64_t>(retention_plan_.tiles.size());
    int64_t end = std::min(length, begin + kRetentionTile), query = std::clamp(before, begin, end);
    retention_plan_.tiles.push_back({.keys = at + begin - history,
                                     .tokens = end - begin,
                                     .query_row = first + query - before,
                                     .first_query = query - begin,
                                     .queries = end - query,
                                     .before = begin == 0 ? RetentionTile::kNone : state,
                                     .behind = end == length ? RetentionTile::kNone : state + 1});
    if (begin == 0) continue;
    if (begin == history) loaded_.push_back({state, rows.page(begin)});
    if (begin >= before && rows.has(begin)) stored_.push_back({state, rows.page(begin)});
  }
}

void RecentPass::write_retention(const RecentRows& rows, int64_t before, int64_t count) {
  const int64_t first = size() - count, length = before + count;
  retention_plan_.begin_sequence();
  // A tile that begins needs the state behind the one before it.
  int64_t begin =
      before % kRetentionTile == 0 && before > 0 ? before - kRetentionTile : before / kRetentionTile * kRetentionTile;
  for (; begin < length; begin += kRetentionTile) {
    int64_t end = std::min(length, begin + kRetentionTile), query = std::clamp(before, begin, end);
    retention_plan_.tiles.push_back({.keys = rows.row(begin),
                                     .tokens = end - begin,
                                     .query_row = first + query - before,
                                     .first_query = query - begin,
                                     .queries = end - query,
                                     .before = begin == 0 ? RetentionTile::kNone : rows.page(begin),
                                     .behind = end == length ? RetentionTile::kNone : rows.page(end)});
  }
}

const nn::CachePass& RecentPass::cache_pass() {
  cache_pass_ = {slots_, gather_};
  return cache_pass_;
}

namespace {

// A column of states with a row for each page.
Tensor by_page(const Tensor& column) {
  Tensor pages(column.data, column.dtype,
               {column.rows() / kPageTokens, column.shape[1], kPageTokens * column.shape[2]});
  return pages;
}

void copy_state(const Tensor& to, int64_t to_row, const Tensor& from, int64_t from_row) {
  auto bytes = static_cast<size_t>(to.row_size() * dtype_bytes(to.dtype));
  std::memcpy(to.slice_rows(to_row, to_row + 1).data, from.slice_rows(from_row, from_row + 1).data, bytes);
}

}  // namespace

Tensor RecentPass::load_states(Tape& tape, const Tensor& column) const {
  Tensor pages = by_page(column);
  if (!reads_) return pages;  // in place
  auto tiles = static_cast<int64_t>(retention_plan_.tiles.size());
  Tensor states = tape.arena().tensor(column.dtype, {tiles, pages.shape[1], pages.shape[2]});
  for (const StatePlace& place : loaded_) copy_state(states, place.state, pages, place.page);
  return states;
}

void RecentPass::store_states(const Tensor& column, const Tensor& states) const {
  Tensor pages = by_page(column);
  for (const StatePlace& place : stored_) copy_state(pages, place.page, states, place.state);
}

}  // namespace tandem
