#include "kernels/span_queries.h"

#include <algorithm>
#include <atomic>

#include "kernels/cpu/kernels.h"

namespace tandem::kernels {
namespace {

using cpu::AttentionPart;
using cpu::AttentionParts;
using cpu::kAttentionTile;
using cpu::KeyStretch;

// Parts are short enough for threads to share a single query, and long enough that beginning one costs little.
constexpr int64_t kLeastTiles = 2;
constexpr int64_t kMostParts = 32;  // of a query with one source

template <class T>
std::span<T> take(Arena& arena, int64_t count) {
  return {static_cast<T*>(arena.allocate(static_cast<size_t>(count) * sizeof(T))), static_cast<size_t>(count)};
}

// Calls body(source, begin, end) for the tiles of keys that a query sees, in the order of its spans.
template <class Body>
void for_tiles(const SpanPlan& plan, const QueryRun& run, int64_t query, const Body& body) {
  for (int32_t s = run.first_span; s < run.first_span + run.spans; ++s) {
    const KeySpan& span = plan.spans[static_cast<size_t>(s)];
    KeyRange keys = visible_keys(span, query);
    for (int64_t begin = keys.begin; begin < keys.end;) {
      int64_t end = std::min(keys.end, begin / kAttentionTile * kAttentionTile + kAttentionTile);
      body(span.source, static_cast<int32_t>(begin), static_cast<int32_t>(end));
      begin = end;
    }
  }
}

template <class Body>
void for_queries(const SpanPlan& plan, const Body& body) {
  for (const QueryRun& run : plan.runs) {
    for (int64_t query = run.begin; query < run.end; ++query) body(run, query);
  }
}

// What is computed: the parts of all queries, and those of each query. The memory of results is still to be given.
struct Work {
  std::span<AttentionPart> parts;
  std::span<AttentionParts> queries;
  std::span<int32_t> query_of;  // part
};

Work cut(Arena& arena, const AttentionForward& in, const SpanPlan& plan) {
  int64_t tiles = 0;
  for_queries(plan, [&](const QueryRun& run, int64_t query) {
    for_tiles(plan, run, query, [&](int32_t, int32_t, int32_t) { ++tiles; });
  });
  const int64_t heads = in.q.shape[1], count = in.q.shape[0];
  auto stretches = take<KeyStretch>(arena, tiles);
  Work work{take<AttentionPart>(arena, tiles), take<AttentionParts>(arena, count), take<int32_t>(arena, tiles)};
  size_t part_count = 0, used = 0;
  for_queries(plan, [&](const QueryRun& run, int64_t query) {
    int64_t own_tiles = 0;
    for_tiles(plan, run, query, [&](int32_t, int32_t, int32_t) { ++own_tiles; });
    const int64_t most = std::max(kLeastTiles, (own_tiles + kMostParts - 1) / kMostParts);
    const size_t first = part_count;
    for_tiles(plan, run, query, [&](int32_t source, int32_t begin, int32_t end) {
      if (part_count == first || work.parts[part_count - 1].source != source ||
          work.parts[part_count - 1].count == most) {
        const KeyValueSource& keys = in.sources[static_cast<size_t>(source)];
        work.query_of[part_count] = static_cast<int32_t>(query);
        work.parts[part_count++] = {.shape = {in.q.shape[2], in.scale},
                                    .heads = heads,
                                    .group = heads / keys.k.shape[1],
                                    .q = head_rows(in.q, query, 0).data,
                                    .k = head_rows(keys.k, 0, 0),
                                    .v = head_rows(keys.v, 0, 0),
                                    .stretches = &stretches[used],
                                    .source = source};
      }
      stretches[used++] = {begin, end};
      ++work.parts[part_count - 1].count;
    });
    work.queries[static_cast<size_t>(query)] = {
        .shape = {in.q.shape[2], in.scale},
        .heads = heads,
        .parts = work.parts.data() + first,
        .count = static_cast<int64_t>(part_count - first),
        .o = head_rows(in.o, query, 0).data,
        .lse = in.lse.as<float>() + query,
        .source_lse = in.source_lse.defined() ? in.source_lse.as<float>() + query : nullptr,
        .lse_stride = count,
        .source_stride = heads * count};
  });
  work.parts = work.parts.first(part_count);
  return work;
}

}  // namespace

cpu::HeadRows head_rows(const Tensor& t, int64_t row, int64_t head) {
  int64_t at = row * t.row_stride + head * t.shape[2];
  return {static_cast<char*>(t.data) + at * dtype_bytes(t.dtype), t.row_stride};
}

void attend_by_query(Context& ctx, const cpu::AttentionPath& path, const AttentionForward& in, const SpanPlan& plan) {
  const cpu::SpanAttentionKernels& kernels = ctx.cpu().span_attention;
  const int64_t heads = in.q.shape[1];
  Work work = cut(ctx.scratch(), in, plan);
  const auto parts = static_cast<int64_t>(work.parts.size());
  const int64_t results = heads * (2 + kernels.part_width(in.q.shape[2]));  // floats of a part
  const int64_t workspace = kernels.part_workspace(heads);
  auto memory = take<float>(ctx.scratch(), parts * results);
  auto own = take<float>(ctx.scratch(), workspace * ctx.pool().threads());
  for (int64_t p = 0; p < parts; ++p) {
    AttentionPart& part = work.parts[static_cast<size_t>(p)];
    part.level = memory.data() + p * results;
    part.sum = part.level + heads;
    part.out = part.sum + heads;
  }
  // Whoever ends the last part of a query merges all of them.
  auto left = take<std::atomic<int32_t>>(ctx.scratch(), in.q.shape[0]);
  for (size_t q = 0; q < work.queries.size(); ++q) {
    new (&left[q]) std::atomic<int32_t>(static_cast<int32_t>(work.queries[q].count));
    if (work.queries[q].count == 0) path.merge_parts(work.queries[q]);
  }
  ctx.pool().run(parts, [&](int64_t chunk, int worker) {
    AttentionPart part = work.parts[static_cast<size_t>(chunk)];
    part.workspace = own.data() + worker * workspace;
    path.forward_part(part);
    auto query = static_cast<size_t>(work.query_of[static_cast<size_t>(chunk)]);
    if (left[query].fetch_sub(1, std::memory_order_acq_rel) == 1) path.merge_parts(work.queries[query]);
  });
}

}  // namespace tandem::kernels
