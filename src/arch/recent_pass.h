// Tokens of several sequences on their way through layers that need only what is recent: the lower half of a YOCO
// model.
#pragma once

#include <span>
#include <vector>

#include "arch/config.h"
#include "cache/recent_rows.h"
#include "kernels/gated_retention.h"
#include "nn/layers.h"

namespace tandem {

// A pool of the lower half has for each layer the keys and values of a token; with gated retention its log decays and,
// spread over the rows of a page, the state before the page's first token (a page is a tile).
std::vector<PagePool::Column> recent_columns(const ModelConfig& config, DType activation, DType wide);

// Lives longer than the passes: what it holds is kept for the next one.
class RecentPass {
 public:
  explicit RecentPass(const ModelConfig& config) : config_(config) {}

  std::vector<int32_t> ids;
  std::vector<int32_t> positions;

  // Passes that read go by tiles, over copies of what is recent and what is new; passes that write go query by query,
  // in place.
  void clear(bool reads);
  // Tokens that come behind those of `rows`, for which there is room (in a pass that writes at most
  // RecentRows::kMostInPlace); appends them.
  void add(std::span<const int32_t> tokens, RecentRows& rows);
  int64_t size() const { return static_cast<int64_t>(ids.size()); }

  const SpanPlan& window_plan() const { return window_plan_; }
  const RetentionPlan& retention_plan() const { return retention_plan_; }
  const nn::CachePass& cache_pass();
  // States of a layer for the pass, [states, H, E], and what becomes of them behind it.
  Tensor load_states(Tape& tape, const Tensor& column) const;
  void store_states(const Tensor& column, const Tensor& states) const;

 private:
  // A state of the pass and the page where it is kept.
  struct StatePlace {
    int64_t state;
    int32_t page;
  };
  void read_window(int64_t before, int64_t count, int64_t at, int64_t history);
  void write_window(const RecentRows& rows, int64_t before, int64_t count);
  void read_retention(const RecentRows& rows, int64_t before, int64_t count, int64_t at, int64_t history);
  void write_retention(const RecentRows& rows, int64_t before, int64_t count);
  bool has_window() const { return config_.self_decoder == SelfDecoder::sliding_window; }

  const ModelConfig& config_;
  bool reads_ = true;
  SpanPlan window_plan_;
  RetentionPlan retention_plan_;
  std::vector<int32_t> slots_;
  std::vector<int32_t> gather_;
  std::vector<StatePlace> loaded_, stored_;
  nn::CachePass cache_pass_;
};

}  // namespace tandem
