#include "arch/paged_pass.h"

#include <algorithm>

#include "kernels/copy_rows.h"

namespace tandem {

std::vector<PagePool::Column> key_value_columns(DType dtype, int64_t layers, int64_t heads, int64_t head_dim) {
  return std::vector<PagePool::Column>(static_cast<size_t>(2 * layers), {dtype, heads, head_dim});
}

void PagedPass::clear() {
  ids.clear();
  positions.clear();
  slots_.clear();
  gathered_.clear();
}

void PagedPass::reserve(int64_t tokens) {
  for (auto* list : {&ids, &positions, &slots_}) list->reserve(static_cast<size_t>(tokens));
}

int64_t PagedPass::add(std::span<const int32_t> tokens, int64_t first_position) {
  int64_t first = size();
  add_rows(static_cast<int64_t>(tokens.size()), first_position);
  std::copy(tokens.begin(), tokens.end(), ids.begin() + first);
  return first;
}

void PagedPass::add_rows(int64_t count, int64_t first_position) {
  ids.resize(ids.size() + static_cast<size_t>(count), 0);
  for (int64_t i = 0; i < count; ++i) positions.push_back(static_cast<int32_t>(first_position + i));
}

void PagedPass::read_causal(SpanPlan& plan, PagedRows& rows, int64_t count) {
  int64_t first = size() - count, before = rows.length();
  int64_t at = gathered_.add(rows, first, count);
  rows.append(count, slots_);
  plan.order = QueryOrder::by_tile;
  plan.add_run(first, first + count);
  plan.add_span({.source = 0, .begin = at, .end = at + before + count, .shift = at + before - first});
}

void PagedPass::read_once(SpanPlan& plan, int64_t count, bool causal) {
  int64_t first = size() - count, at = gathered_.add(first, count);
  slots_.insert(slots_.end(), static_cast<size_t>(count), -1);
  plan.order = QueryOrder::by_tile;
  plan.add_run(first, first + count);
  plan.add_span({.source = 0, .begin = at, .end = at + count, .shift = causal ? at - first : KeySpan::kNoLimit});
}

void PagedPass::write_causal(SpanPlan& plan, int32_t source, PagedRows& rows, int64_t count) {
  int64_t first = size() - count;
  rows.append(count, slots_);
  plan.order = QueryOrder::by_query;
  plan.add_run(first, first + count);
  add_paged_spans(plan, source, rows, first, count);
}

void PagedPass::write_again(SpanPlan& plan, int32_t source, PagedRows& rows, int64_t count) {
  int64_t all = rows.length() + count, first = size() - all;
  for (int64_t t = 0; t < rows.length(); ++t) slots_.push_back(rows.row(t));
  rows.append(count, slots_);
  plan.order = QueryOrder::by_query;
  plan.add_run(first, first + all);
  add_paged_spans(plan, source, rows, first, all);
}

nn::CacheColumns PagedPass::layer(const PagePool& pool, size_t i) {
  cache_pass_ = {slots_, gathered_.rows()};
  return {pool.column(2 * i), pool.column(2 * i + 1), &cache_pass_};
}

nn::CacheColumns PagedPass::no_cache() {
  cache_pass_ = {slots_, gathered_.rows()};
  return {{}, {}, &cache_pass_};
}

ops::KeyValueHeads layer_heads(Tape& tape, const PagePool& pool, size_t i) {
  return nn::cached_heads(tape, pool.column(2 * i), pool.column(2 * i + 1));
}

void keep_heads(Tape& tape, const PagePool& pool, size_t i, std::span<const int32_t> slots,
                const ops::KeyValueHeads& heads) {
  kernels::scatter_rows(tape.context(), pool.column(2 * i), slots, heads.k.value());
  kernels::scatter_rows(tape.context(), pool.column(2 * i + 1), slots, heads.v.value());
}

}  // namespace tandem
