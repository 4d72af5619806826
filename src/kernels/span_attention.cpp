#include "kernels/span_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "base/error.h"
#include "kernels/cpu/kernels.h"
#include "kernels/ref/span_attention.h"
#include "kernels/span_queries.h"
#include "kernels/span_tiles.h"

namespace tandem::kernels {
namespace {

using cpu::AttentionPath;
using cpu::kAttentionTile;
using cpu::QueryTile;
using cpu::SpanAttentionKernels;

constexpr int64_t kMostHeadSize = 256;

template <class T>
T* take(Arena& arena, int64_t count) {
  return static_cast<T*>(arena.allocate(static_cast<size_t>(count) * sizeof(T)));
}

// Sizes that everything below needs.
struct Sizes {
  int64_t queries, heads, key_heads, group, head_size, wide, per_unit;

  Sizes(const Tensor& q, const Tensor& k, int64_t lanes)
      : queries(q.shape[0]),
        heads(q.shape[1]),
        key_heads(k.shape[1]),
        group(heads / key_heads),
        head_size(q.shape[2]),
        wide((head_size + lanes - 1) / lanes * lanes),
        per_unit(q.dtype == DType::bf16 ? 2 : 1) {}
  // Floats of packed tiles.
  int64_t columns() const { return head_size / per_unit * kAttentionTile; }
  int64_t rows() const { return kAttentionTile / per_unit * wide; }
};

void check_operands(const Tensor& q, std::span<const KeyValueSource> sources, const SpanPlan& plan) {
  if (sources.empty() || static_cast<size_t>(plan.sources) != sources.size()) {
    throw LogicError({.what = "span attention: wrong number of key sources",
                      .got = fmt::format("{}", sources.size()),
                      .expected = fmt::format("{}", plan.sources)});
  }
  int64_t size = q.shape[2];
  if (size < 2 || size % 2 != 0 || size > kMostHeadSize) {
    throw LogicError({.what = "span attention: head size",
                      .got = fmt::format("{}", size),
                      .expected = fmt::format("an even number up to {}", kMostHeadSize)});
  }
  for (const KeyValueSource& source : sources) {
    bool fits = source.k.shape == source.v.shape && source.k.shape.rank() == 3 && source.k.shape[2] == size &&
                source.k.shape[1] == sources[0].k.shape[1] && q.shape[1] % source.k.shape[1] == 0 &&
                source.k.dtype == q.dtype && source.v.dtype == q.dtype;
    if (fits) continue;
    throw LogicError({.what = "span attention: operands do not fit together",
                      .got = fmt::format("keys {} {}, values {} {}", source.k.shape.text(), dtype_name(source.k.dtype),
                                         source.v.shape.text(), dtype_name(source.v.dtype)),
                      .expected = fmt::format("those of queries {} {}", q.shape.text(), dtype_name(q.dtype))});
  }
}

std::span<const int64_t> check_and_count_keys(Context& ctx, const Tensor& q, std::span<const KeyValueSource> sources,
                                              const SpanPlan& plan) {
  check_operands(q, sources, plan);
  auto* keys = take<int64_t>(ctx.scratch(), static_cast<int64_t>(sources.size()));
  for (size_t s = 0; s < sources.size(); ++s) keys[s] = sources[s].k.rows();
  std::span<const int64_t> all{keys, sources.size()};
  check_plan(plan, q.shape[0], all);
  return all;
}

// Null when the plain loops have to do it.
const AttentionPath* fast_path(const SpanAttentionKernels& kernels, const Tensor& q) {
  if (q.dtype == DType::f32) return &kernels.f32;
  if (q.dtype == DType::bf16 && kernels.bf16.forward) return &kernels.bf16;
  return nullptr;
}

// Needed floating-point operations: a product of D multiplications and additions per pair and head.
double flops(const SpanPlan& plan, const Tensor& q, int products) {
  return 2.0 * products * static_cast<double>(plan.allowed_pairs()) * static_cast<double>(q.shape[1] * q.shape[2]);
}

double bytes(const SpanPlan& plan, const Tensor& q, std::span<const KeyValueSource> sources) {
  double total = 2.0 * static_cast<double>(q.bytes());
  if (plan.order == QueryOrder::by_query) {  // of sources that may be whole pools
    const Tensor& k = sources[0].k;
    return total + 2.0 * static_cast<double>(plan.allowed_pairs() * k.row_size() * dtype_bytes(k.dtype));
  }
  for (const KeyValueSource& source : sources) total += static_cast<double>(source.k.bytes() + source.v.bytes());
  return total;
}

// The packed keys and values of all sources: [key head][source].
std::span<cpu::PackedKeys> pack_keys(Context& ctx, const AttentionPath& path, const Sizes& sizes,
                                     std::span<const KeyValueSource> sources, std::span<const KeyTile> tiles) {
  auto count = static_cast<int64_t>(sources.size());
  auto* packed = take<cpu::PackedKeys>(ctx.scratch(), sizes.key_heads * count);
  for (int64_t h = 0; h < sizes.key_heads; ++h) {
    for (int64_t s = 0; s < count; ++s) {
      int64_t source_tiles = (sources[static_cast<size_t>(s)].k.rows() + kAttentionTile - 1) / kAttentionTile;
      packed[h * count + s] = {take<float>(ctx.scratch(), source_tiles * sizes.columns()),
                               take<float>(ctx.scratch(), source_tiles * sizes.rows())};
    }
  }
  auto tile_count = static_cast<int64_t>(tiles.size());
  ctx.pool().run(sizes.key_heads * tile_count, [&](int64_t chunk, int) {
    int64_t h = chunk / tile_count;
    const KeyTile& tile = tiles[static_cast<size_t>(chunk % tile_count)];
    if (tile.visits == 0) return;
    const KeyValueSource& source = sources[static_cast<size_t>(tile.source)];
    const cpu::PackedKeys& to = packed[h * count + tile.source];
    int64_t t = tile.begin / kAttentionTile;
    path.pack_keys(const_cast<float*>(to.k_columns) + t * sizes.columns(),
                   const_cast<float*>(to.v_rows) + t * sizes.rows(), head_rows(source.k, tile.begin, h),
                   head_rows(source.v, tile.begin, h), tile.seen_end - tile.begin, sizes.head_size);
  });
  return {packed, static_cast<size_t>(sizes.key_heads * count)};
}

// What a chunk works on but for the shape of its rows, beginning with query `query` of head `head`.
cpu::AttentionForwardRows forward_rows(const AttentionForward& in, const QueryTiles& queries, const QueryTile& tile,
                                       int64_t query, int64_t head) {
  int64_t heads = in.q.shape[1], count = in.q.shape[0], at = head * count + query;
  cpu::AttentionForwardRows rows{};
  rows.shape = {in.q.shape[2], in.scale};
  rows.q = head_rows(in.q, query, head);
  rows.o = head_rows(in.o, query, head);
  rows.lse = in.lse.as<float>() + at;
  rows.source_lse = in.source_lse.defined() ? in.source_lse.as<float>() + at : nullptr;
  rows.source_stride = heads * count;
  rows.spans = queries.spans.data() + tile.first_span;
  rows.span_count = tile.spans;
  return rows;
}

void forward_tiles(Context& ctx, const SpanAttentionKernels& kernels, const AttentionPath& path, const Sizes& sizes,
                   const AttentionForward& in, const QueryTiles& queries, std::span<const KeyTile> key_tiles) {
  auto packed = pack_keys(ctx, path, sizes, in.sources, key_tiles);
  auto source_count = static_cast<int64_t>(in.sources.size());
  int64_t workspace = kernels.forward_workspace(sizes.head_size);
  float* memory = take<float>(ctx.scratch(), workspace * ctx.pool().threads());
  auto tiles = static_cast<int64_t>(queries.tiles.size());
  ctx.pool().run(tiles * sizes.heads, [&](int64_t chunk, int worker) {
    int64_t head = chunk / tiles;
    // Later queries tend to see more keys: the longest chunks come first.
    const QueryTile& tile = queries.tiles[static_cast<size_t>(tiles - 1 - chunk % tiles)];
    cpu::AttentionForwardRows rows = forward_rows(in, queries, tile, tile.begin, head);
    rows.rows = tile.rows;
    rows.lse_stride = 1;
    rows.workspace = memory + worker * workspace;
    path.forward({rows, packed.data() + head / sizes.group * source_count});
  });
}

// Below this many uses of a key, packing it costs more than the faster products give back.
constexpr int64_t kUsesWorthPacking = 6;

bool few_queries(const Sizes& sizes, const SpanPlan& plan, std::span<const KeyTile> tiles) {
  if (plan.order == QueryOrder::by_tile) return false;
  int64_t seen = 0;
  for (const KeyTile& tile : tiles) seen += tile.visits > 0 ? tile.end - tile.begin : 0;
  return plan.allowed_pairs() * sizes.group < kUsesWorthPacking * seen;
}

}  // namespace

void span_attention_forward(Context& ctx, const Tensor& o, const Tensor& lse, const Tensor& source_lse, const Tensor& q,
                            std::span<const KeyValueSource> sources, const SpanPlan& plan, double scale) {
  span_attention_forward(ctx, cpu::span_attention(ctx.isa()), o, lse, source_lse, q, sources, plan, scale);
}

void span_attention_forward(Context& ctx, const SpanAttentionKernels& kernels, const Tensor& o, const Tensor& lse,
                            const Tensor& source_lse, const Tensor& q, std::span<const KeyValueSource> sources,
                            const SpanPlan& plan, double scale) {
  bool profiled = ctx.profiler().enabled();
  ProfileScope profile(ctx.profiler(), "attention", profiled ? flops(plan, q, 2) : 0,
                       profiled ? bytes(plan, q, sources) : 0);
  ArenaScope scope(ctx.scratch());
  std::span<const int64_t> keys = check_and_count_keys(ctx, q, sources, plan);
  const AttentionPath* path = fast_path(kernels, q);
  if (!path) return ref::span_attention_forward(o, lse, source_lse, q, sources, plan, scale);

  Sizes sizes(q, sources[0].k, kernels.lanes);
  if (source_lse.defined()) {
    std::fill_n(source_lse.as<float>(), source_lse.elements(), -std::numeric_limits<float>::infinity());
  }
  AttentionForward in{o, lse, source_lse, q, sources, static_cast<float>(scale)};
  if (plan.order == QueryOrder::by_query) return attend_by_query(ctx, *path, in, plan);
  QueryTiles queries = make_query_tiles(ctx.scratch(), plan, sizes.queries);
  std::span<const KeyTile> key_tiles = make_key_tiles(ctx.scratch(), queries, keys);
  if (few_queries(sizes, plan, key_tiles)) {
    attend_by_query(ctx, *path, in, plan);
  } else {
    forward_tiles(ctx, kernels, *path, sizes, in, queries, key_tiles);
  }
}

namespace {

// What the gradient needs of all queries, by query head and padded to whole tiles.
struct QueryData {
  int64_t stride;       // queries of one head: tiles * 64
  int64_t tile_floats;  // packed floats of one tile
  float* packed;        // [heads][tiles][tile_floats]
  float* lse;           // [heads][stride], in powers of two
  float* delta;         // [heads][stride]
  float* source_lse;    // [sources][heads][stride], in powers of two, and its gradient; or null
  float* d_source_lse;
};

struct BackwardOperands {
  const Tensor& d_o;
  const Tensor& o;
  const Tensor& lse;
  const Tensor& d_source_lse;
  const Tensor& source_lse;
  const Tensor& q;
};

// One row of a statistic into the padded layout, multiplied; what pads it is 0.
void pad_statistic(float* to, const float* from, int64_t rows, float factor) {
  for (int64_t r = 0; r < rows; ++r) to[r] = from[r] * factor;
  std::fill(to + rows, to + kAttentionTile, 0.0f);
}

QueryData pack_queries(Context& ctx, const AttentionPath& path, const Sizes& sizes, const QueryTiles& queries,
                       const BackwardOperands& in, int64_t sources) {
  auto tiles = static_cast<int64_t>(queries.tiles.size());
  QueryData data;
  data.stride = tiles * kAttentionTile;
  data.tile_floats = 2 * (sizes.columns() + sizes.rows());
  data.packed = take<float>(ctx.scratch(), sizes.heads * tiles * data.tile_floats);
  data.lse = take<float>(ctx.scratch(), sizes.heads * data.stride);
  data.delta = take<float>(ctx.scratch(), sizes.heads * data.stride);
  data.source_lse = data.d_source_lse = nullptr;
  if (in.d_source_lse.defined()) {
    data.source_lse = take<float>(ctx.scratch(), sources * sizes.heads * data.stride);
    data.d_source_lse = take<float>(ctx.scratch(), sources * sizes.heads * data.stride);
  }
  constexpr float kLog2E = std::numbers::log2e_v<float>;
  ctx.pool().run(tiles * sizes.heads, [&](int64_t chunk, int) {
    int64_t head = chunk / tiles, t = chunk % tiles;
    const QueryTile& tile = queries.tiles[static_cast<size_t>(t)];
    int64_t at = head * data.stride + t * kAttentionTile, from = head * sizes.queries + tile.begin;
    path.pack_queries(data.packed + (head * tiles + t) * data.tile_floats, data.delta + at,
                      head_rows(in.q, tile.begin, head), head_rows(in.d_o, tile.begin, head),
                      head_rows(in.o, tile.begin, head), tile.rows, sizes.head_size);
    pad_statistic(data.lse + at, in.lse.as<float>() + from, tile.rows, kLog2E);
    for (int64_t s = 0; data.source_lse && s < sources; ++s) {
      int64_t source_at = s * sizes.heads * data.stride + at, source_from = s * sizes.heads * sizes.queries + from;
      pad_statistic(data.source_lse + source_at, in.source_lse.as<float>() + source_from, tile.rows, kLog2E);
      pad_statistic(data.d_source_lse + source_at, in.d_source_lse.as<float>() + source_from, tile.rows, 1.0f);
    }
  });
  return data;
}

// Neighbouring key tiles that one chunk works on, adding to query gradients of its own.
struct Slice {
  int64_t begin = 0;  // key tiles
  int64_t end = 0;
  int64_t first_tile = 0;  // query tiles that see any of them
  int64_t last_tile = 0;
  float* dq = nullptr;  // [heads][last_tile - first_tile][64][wide]
};

// Chunks of about equal work, enough of them to keep threads busy to the end: by the plan alone, never by the number of
// threads, because the order of sums follows from it. More slices cost more memory for query gradients.
constexpr int64_t kChunksWanted = 16;
constexpr int64_t kMostSlices = 8;

std::span<Slice> make_slices(Arena& arena, const Sizes& sizes, std::span<const KeyTile> tiles) {
  int64_t visits = 0;
  for (const KeyTile& tile : tiles) visits += tile.visits;
  int64_t wanted = std::clamp<int64_t>((kChunksWanted + sizes.key_heads - 1) / sizes.key_heads, 1, kMostSlices);
  auto* slices = take<Slice>(arena, wanted);
  int64_t count = 0, done = 0;
  for (int64_t i = 0; i < static_cast<int64_t>(tiles.size()); ++i) {
    const KeyTile& tile = tiles[static_cast<size_t>(i)];
    if (count == 0 || (count < wanted && done * wanted >= visits * count)) slices[count++] = {i, i, 0, 0, nullptr};
    Slice& slice = slices[count - 1];
    slice.end = i + 1;
    done += tile.visits;
    if (tile.visits == 0) continue;
    bool first = slice.last_tile == 0;
    slice.first_tile = first ? tile.first_tile : std::min(slice.first_tile, tile.first_tile);
    slice.last_tile = std::max(slice.last_tile, tile.last_tile);
  }
  for (int64_t s = 0; s < count; ++s) {
    slices[s].dq =
        take<float>(arena, (slices[s].last_tile - slices[s].first_tile) * sizes.heads * kAttentionTile * sizes.wide);
  }
  return {slices, static_cast<size_t>(count)};
}

void finish_queries(Context& ctx, const AttentionPath& path, const Tensor& dq, const Sizes& sizes,
                    const QueryTiles& queries, std::span<const Slice> slices, double scale) {
  auto tiles = static_cast<int64_t>(queries.tiles.size());
  ctx.pool().run(tiles * sizes.heads, [&](int64_t chunk, int) {
    int64_t head = chunk / tiles, t = chunk % tiles, count = 0;
    const float* parts[kMostSlices];
    for (const Slice& slice : slices) {
      if (t < slice.first_tile || t >= slice.last_tile) continue;
      int64_t at = head * (slice.last_tile - slice.first_tile) + t - slice.first_tile;
      parts[count++] = slice.dq + at * kAttentionTile * sizes.wide;
    }
    const QueryTile& tile = queries.tiles[static_cast<size_t>(t)];
    path.finish_queries(head_rows(dq, tile.begin, head), dq.dtype == DType::bf16, parts, count, tile.rows,
                        sizes.head_size, static_cast<float>(scale));
  });
}

}  // namespace

void span_attention_backward(Context& ctx, const Tensor& dq, std::span<const KeyValueGradient> gradients,
                             const Tensor& d_o, const Tensor& o, const Tensor& lse, const Tensor& d_source_lse,
                             const Tensor& source_lse, const Tensor& q, std::span<const KeyValueSource> sources,
                             const SpanPlan& plan, double scale) {
  span_attention_backward(ctx, cpu::span_attention(ctx.isa()), dq, gradients, d_o, o, lse, d_source_lse, source_lse, q,
                          sources, plan, scale);
}

void span_attention_backward(Context& ctx, const SpanAttentionKernels& kernels, const Tensor& dq,
                             std::span<const KeyValueGradient> gradients, const Tensor& d_o, const Tensor& o,
                             const Tensor& lse, const Tensor& d_source_lse, const Tensor& source_lse, const Tensor& q,
                             std::span<const KeyValueSource> sources, const SpanPlan& plan, double scale) {
  bool profiled = ctx.profiler().enabled();
  ProfileScope profile(ctx.profiler(), "attention.backward", profiled ? flops(plan, q, 5) : 0,
                       profiled ? 2 * bytes(plan, q, sources) : 0);
  ArenaScope scope(ctx.scratch());
  std::span<const int64_t> keys = check_and_count_keys(ctx, q, sources, plan);
  const AttentionPath* path = fast_path(kernels, q);
  if (!path) {
    return ref::span_attention_backward(dq, gradients, d_o, o, lse, d_source_lse, source_lse, q, sources, plan, scale);
  }
  Sizes sizes(q, sources[0].k, kernels.lanes);
  QueryTiles queries = make_query_tiles(ctx.scratch(), plan, sizes.queries);
  std::span<const KeyTile> key_tiles = make_key_tiles(ctx.scratch(), queries, keys);
  QueryData data = pack_queries(ctx, *path, sizes, queries, {d_o, o, lse, d_source_lse, source_lse, q}, plan.sources);
  std::span<Slice> slices = make_slices(ctx.scratch(), sizes, key_tiles);
  int64_t workspace = kernels.backward_workspace(sizes.head_size);
  float* memory = take<float>(ctx.scratch(), workspace * ctx.pool().threads());
  auto tiles = static_cast<int64_t>(queries.tiles.size());

  auto run_tile = [&](const Slice& slice, const KeyTile& tile, int64_t key_head, float* own_memory) {
    const KeyValueSource& source = sources[static_cast<size_t>(tile.source)];
    const KeyValueGradient& gradient = gradients[static_cast<size_t>(tile.source)];
    int64_t head = key_head * sizes.group, at = head * data.stride;
    int64_t source_at = tile.source * sizes.heads * data.stride + at;
    int64_t slice_floats = (slice.last_tile - slice.first_tile) * kAttentionTile * sizes.wide;
    path->backward({.shape = {sizes.head_size, static_cast<float>(scale)},
                    .tiles = queries.tiles.data(),
                    .spans = queries.spans.data(),
                    .first_tile = tile.first_tile,
                    .last_tile = tile.last_tile,
                    .source = tile.source,
                    .begin = tile.begin,
                    .end = tile.end,
                    .seen_end = tile.seen_end,
                    .k = head_rows(source.k, 0, key_head),
                    .v = head_rows(source.v, 0, key_head),
                    .dk = head_rows(gradient.dk, 0, key_head),
                    .dv = head_rows(gradient.dv, 0, key_head),
                    .gradient_is_bf16 = gradient.dk.dtype == DType::bf16,
                    .accumulate = gradient.accumulate,
                    .group = sizes.group,
                    .packed_head_stride = tiles * data.tile_floats,
                    .packed = data.packed + head * tiles * data.tile_floats,
                    .statistics_stride = data.stride,
                    .lse = data.lse + at,
                    .delta = data.delta + at,
                    .source_lse = data.source_lse ? data.source_lse + source_at : nullptr,
                    .d_source_lse = data.source_lse ? data.d_source_lse + source_at : nullptr,
                    .dq_head_stride = slice_floats,
                    .dq = slice.dq + head * slice_floats,
                    .dq_first_tile = slice.first_tile,
                    .workspace = own_memory});
  };
  auto count = static_cast<int64_t>(slices.size());
  ctx.pool().run(count * sizes.key_heads, [&](int64_t chunk, int worker) {
    const Slice& slice = slices[static_cast<size_t>(chunk % count)];
    int64_t key_head = chunk / count;
    int64_t group_floats = (slice.last_tile - slice.first_tile) * kAttentionTile * sizes.wide * sizes.group;
    std::fill_n(slice.dq + key_head * group_floats, group_floats, 0.0f);
    for (int64_t t = slice.begin; t < slice.end; ++t) {
      run_tile(slice, key_tiles[static_cast<size_t>(t)], key_head, memory + worker * workspace);
    }
  });
  finish_queries(ctx, *path, dq, sizes, queries, slices, scale);
}

}  // namespace tandem::kernels
