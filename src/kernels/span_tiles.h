// Cuts a span plan into the tiles that the attention kernels work on.
#pragma once

#include <span>

#include "kernels/context.h"
#include "kernels/cpu/span_attention.h"
#include "kernels/span_plan.h"

namespace tandem::kernels {

// Tiles of queries, in the order of the queries. Neighbouring short runs share a tile, each query with its own limits.
struct QueryTiles {
  std::span<const cpu::QueryTile> tiles;
  std::span<const cpu::TileSpan> spans;
};

// LogicError when the runs do not cover 0..queries-1 in order, or a span lies outside its source of keys[source] keys.
void check_plan(const SpanPlan& plan, int64_t queries, std::span<const int64_t> keys);

// In memory of `arena`.
QueryTiles make_query_tiles(Arena& arena, const SpanPlan& plan, int64_t queries);

// A tile of keys of one source: keys [begin, end), and the tiles of queries [first_tile, last_tile) that may see some.
struct KeyTile {
  int32_t source = 0;
  int32_t begin = 0;
  int32_t end = 0;
  int32_t seen_end = 0;  // no query sees keys from here on: they may hold anything, as the free rest of a cache does
  int64_t first_tile = 0;
  int64_t last_tile = 0;  // == first_tile: nobody sees these keys
  int64_t visits = 0;     // spans of tiles that overlap them
};

// Every key of every source, tile by tile.
std::span<KeyTile> make_key_tiles(Arena& arena, const QueryTiles& queries, std::span<const int64_t> keys);

}  // namespace tandem::kernels
