// The tiles of span attention. Queries and keys are taken 64 at a time; every product of a tile is a small matrix
// product with a broadcast left operand and a right operand packed so that its rows are whole vectors.
//
// A "unit" is 32 bits of a reduction: one float, or two neighbouring bf16 values, which is what one lane of a bf16 dot
// product consumes. Packed tiles of 64 rows (keys or queries) of one head of D features, with U = D or D/2 units and
// P = D rounded up to whole vectors:
//   columns  [U, 64]    transposed: the right operand when features are summed over
//   rows     [64, P]    floats; or [32, P] pairs of rows for bf16: the right operand when the 64 rows are summed over
#pragma once

#include <stdint.h>

namespace tandem::cpu {

inline constexpr int64_t kAttentionTile = 64;
inline constexpr int64_t kLimitRows = 8;
inline constexpr int64_t kLimitGroups = kAttentionTile / kLimitRows;

// The keys [begin, end) of one source that a tile of queries sees, and for each query its own part [lo, hi) of them
// (lo = hi = 0 for a query without any and for rows past the tile's end).
struct TileSpan {
  int32_t source;
  int32_t begin;
  int32_t end;
  int32_t lo[kAttentionTile];
  int32_t hi[kAttentionTile];
  // Of each group of kLimitRows queries: all that some of them sees lies in [least_lo, most_hi), and every one of them
  // sees [most_lo, least_hi).
  int32_t least_lo[kLimitGroups];
  int32_t most_hi[kLimitGroups];
  int32_t most_lo[kLimitGroups];
  int32_t least_hi[kLimitGroups];
};

// Queries [begin, begin + rows) and their spans [first_span, first_span + spans), ordered by source.
struct QueryTile {
  int64_t begin;
  int32_t rows;
  int32_t first_span;
  int32_t spans;
};

// One head of a tensor [T, heads, D]: row r begins r * stride elements after data.
struct HeadRows {
  void* data;
  int64_t stride;
};

// Where to find the packed tiles of one key head of a source: tile t at t * (floats of a tile).
struct PackedKeys {
  const float* k_columns;
  const float* v_rows;
};

struct AttentionShape {
  int64_t head_size;
  float scale;
};

// Rows that see the same keys: the queries of a tile for one head.
struct AttentionForwardRows {
  AttentionShape shape;
  int64_t rows;
  HeadRows q;
  HeadRows o;
  float* lse;         // row r at r * lse_stride
  float* source_lse;  // likewise, source s at s * source_stride; or null
  int64_t lse_stride;
  int64_t source_stride;
  const TileSpan* spans;  // of the tile
  int32_t span_count;
  float* workspace;
};

struct AttentionForwardTile {
  AttentionForwardRows rows;  // row r is query r of the tile
  const PackedKeys* sources;  // of the key head
};

// Rows [begin, end) of a source, all in the same aligned tile of it.
struct KeyStretch {
  int32_t begin;
  int32_t end;
};

// All heads of one query against some of the keys that it sees, of one source and in place.
struct AttentionPart {
  AttentionShape shape;
  int64_t heads;
  int64_t group;  // query head h reads key head h / group
  const void* q;  // [heads, D]
  HeadRows k;     // of key head 0; the others follow
  HeadRows v;
  const KeyStretch* stretches;
  int32_t count;
  int32_t source;
  // Results, not yet divided by the sum of all parts: see span_attention_query.h.
  float* level;  // [heads]
  float* sum;    // [heads]
  float* out;    // [heads, part_width(D)]
  float* workspace;
};

// The parts of one query, in their order.
struct AttentionParts {
  AttentionShape shape;
  int64_t heads;
  const AttentionPart* parts;
  int64_t count;
  void* o;            // [heads, D]
  float* lse;         // head h at h * lse_stride
  float* source_lse;  // likewise, source s at s * source_stride; or null
  int64_t lse_stride;
  int64_t source_stride;
};

// One stretch of keys [begin, end), at most a tile, of one source and one key head, with every query that sees it.
struct AttentionBackwardTile {
  AttentionShape shape;
  const QueryTile* tiles;  // [first_tile, last_tile) may see the keys
  const TileSpan* spans;   // of the whole plan
  int64_t first_tile;
  int64_t last_tile;
  int32_t source;
  int32_t begin;
  int32_t end;
  int32_t seen_end;  // keys from here on are not read; their gradient is zero
  HeadRows k;        // row 0 is row 0 of the source
  HeadRows v;
  HeadRows dk;
  HeadRows dv;
  bool gradient_is_bf16;
  bool accumulate;
  // Per query head of the key head's group, group of them:
  int64_t group;
  int64_t packed_head_stride;  // floats between heads in `packed`
  const float* packed;         // per query tile: q columns, d_o columns, q rows, d_o rows
  int64_t statistics_stride;   // floats between heads in `lse` and `delta`
  const float* lse;            // [padded queries] in powers of two: lse * log2(e)
  const float* delta;          // [padded queries] sum of d_o * o
  const float* source_lse;     // as lse, for this source; or null
  const float* d_source_lse;   // [padded queries]
  int64_t dq_head_stride;
  float* dq;  // sums [tile, 64 P] from first_tile of the slice on: tile t at (t - dq_first_tile) * 64 * P
  int64_t dq_first_tile;
  float* workspace;
};

// The functions for one element type; null where the instruction set lacks its products.
struct AttentionPath {
  // Packs `rows` rows of k and v (the rest of the tile becomes zero).
  void (*pack_keys)(float* k_columns, float* v_rows, HeadRows k, HeadRows v, int64_t rows, int64_t head_size);
  void (*forward)(const AttentionForwardTile& job);
  // For few queries, where packing would cost more than it saves.
  void (*forward_part)(const AttentionPart& part);
  void (*merge_parts)(const AttentionParts& query);
  // Packs a tile of queries as `AttentionBackwardTile::packed` says and fills delta[0..63].
  void (*pack_queries)(float* packed, float* delta, HeadRows q, HeadRows d_o, HeadRows o, int64_t rows,
                       int64_t head_size);
  void (*backward)(const AttentionBackwardTile& job);
  // dq[r] = scale * sum over parts of part[r], stored as f32 or bf16; parts are what `backward` of the same path adds
  // to, summed in order.
  void (*finish_queries)(HeadRows dq, bool is_bf16, const float* const* parts, int64_t part_count, int64_t rows,
                         int64_t head_size, float scale);
};

struct SpanAttentionKernels {
  int64_t lanes;
  AttentionPath f32;
  AttentionPath bf16;
  int64_t (*forward_workspace)(int64_t head_size);   // floats
  int64_t (*part_workspace)(int64_t heads);          // floats
  int64_t (*part_width)(int64_t head_size);          // floats
  int64_t (*backward_workspace)(int64_t head_size);  // floats
};

}  // namespace tandem::cpu
