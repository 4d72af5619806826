#include "kernels/span_tiles.h"

#include <algorithm>
#include <array>

#include "base/error.h"

namespace tandem::kernels {
namespace {

using cpu::kAttentionTile;
using cpu::QueryTile;
using cpu::TileSpan;

// The stretches of keys that some rows see, one per source and place among the spans of that source.
class Stretches {
 public:
  static constexpr int32_t kMost = 16;

  struct Stretch {
    int32_t source;
    int32_t place;  // the how-manieth span of its source in a run
    int64_t begin;
    int64_t end;
  };

  void clear() { count_ = 0; }
  std::span<const Stretch> all() const { return {list_.data(), static_cast<size_t>(count_)}; }

  // Adds what queries [begin, end) of a run see. False when there is no room.
  bool add(const SpanPlan& plan, const QueryRun& run, int64_t begin, int64_t end) {
    for (int32_t s = 0; s < run.spans; ++s) {
      const KeySpan& span = plan.spans[static_cast<size_t>(run.first_span + s)];
      // Both limits move up with the query.
      KeyRange range{visible_keys(span, begin).begin, visible_keys(span, end - 1).end};
      if (range.begin >= range.end) continue;
      if (!widen({span.source, place_of(plan, run, s), range.begin, range.end})) return false;
    }
    return true;
  }
  int64_t keys() const {
    int64_t total = 0;
    for (const Stretch& s : all()) total += s.end - s.begin;
    return total;
  }
  static int32_t place_of(const SpanPlan& plan, const QueryRun& run, int32_t s) {
    int32_t place = 0;
    const KeySpan* spans = plan.spans.data() + run.first_span;
    for (int32_t i = 0; i < s; ++i) place += spans[i].source == spans[s].source ? 1 : 0;
    return place;
  }

 private:
  bool widen(const Stretch& added) {
    for (int32_t i = 0; i < count_; ++i) {
      Stretch& s = list_[static_cast<size_t>(i)];
      if (s.source != added.source || s.place != added.place) continue;
      s.begin = std::min(s.begin, added.begin);
      s.end = std::max(s.end, added.end);
      return true;
    }
    if (count_ == kMost) return false;
    list_[static_cast<size_t>(count_++)] = added;
    return true;
  }

  std::array<Stretch, kMost> list_;
  int32_t count_ = 0;
};

// Whether the rows of both may share a tile: not when the tile would have to walk over many keys that none of them
// sees.
bool worth_joining(const Stretches& tile, const Stretches& more, const Stretches& joined) {
  return joined.keys() <= tile.keys() + more.keys() + kAttentionTile;
}

struct Cut {
  std::span<QueryTile> tiles;
  std::span<int32_t> first_run;  // of each tile
};

// Where the tiles begin and end. Fills rows and begin only.
Cut cut_queries(Arena& arena, const SpanPlan& plan, int64_t queries) {
  size_t most = plan.runs.size() + static_cast<size_t>(queries / kAttentionTile + 1);
  auto* tiles = static_cast<QueryTile*>(arena.allocate(most * sizeof(QueryTile)));
  auto* first_run = static_cast<int32_t*>(arena.allocate(most * sizeof(int32_t)));
  size_t count = 0;
  Stretches tile, more, joined;
  bool open = false;  // the last tile may take more rows
  for (size_t r = 0; r < plan.runs.size(); ++r) {
    const QueryRun& run = plan.runs[r];
    for (int64_t begin = run.begin; begin < run.end;) {
      int64_t room = open ? kAttentionTile - tiles[count - 1].rows : 0;
      int64_t end = std::min(run.end, begin + room);
      more.clear();
      joined = tile;
      if (room > 0 && more.add(plan, run, begin, end) && joined.add(plan, run, begin, end) &&
          worth_joining(tile, more, joined)) {
        tiles[count - 1].rows += static_cast<int32_t>(end - begin);
        tile = joined;
      } else {
        end = std::min(run.end, begin + kAttentionTile);
        tiles[count] = {begin, static_cast<int32_t>(end - begin), 0, 0};
        first_run[count++] = static_cast<int32_t>(r);
        tile.clear();
        open = tile.add(plan, run, begin, end);
      }
      begin = end;
    }
  }
  return {{tiles, count}, {first_run, count}};
}

// Calls body(run, begin, end) for the parts of runs that a tile consists of.
template <class Body>
void for_parts(const SpanPlan& plan, const QueryTile& tile, int32_t first_run, const Body& body) {
  int64_t end = tile.begin + tile.rows;
  for (size_t r = static_cast<size_t>(first_run); r < plan.runs.size() && plan.runs[r].begin < end; ++r) {
    const QueryRun& run = plan.runs[r];
    if (run.begin < run.end) body(run, std::max(run.begin, tile.begin), std::min(run.end, end));
  }
}

void write_limits(TileSpan& to, const KeySpan& span, const QueryTile& tile, int64_t begin, int64_t end) {
  for (int64_t q = begin; q < end; ++q) {
    KeyRange keys = visible_keys(span, q);
    if (keys.begin >= keys.end) continue;
    to.lo[q - tile.begin] = static_cast<int32_t>(keys.begin);
    to.hi[q - tile.begin] = static_cast<int32_t>(keys.end);
  }
}

void summarise_limits(TileSpan& span) {
  for (int64_t g = 0; g < cpu::kLimitGroups; ++g) {
    int32_t least_lo = 0, most_hi = 0, most_lo = span.lo[g * cpu::kLimitRows], least_hi = span.hi[g * cpu::kLimitRows];
    for (int64_t r = g * cpu::kLimitRows; r < (g + 1) * cpu::kLimitRows; ++r) {
      int32_t lo = span.lo[r], hi = span.hi[r];
      most_lo = std::max(most_lo, lo);
      least_hi = std::min(least_hi, hi);
      if (lo >= hi) continue;
      least_lo = least_lo < most_hi ? std::min(least_lo, lo) : lo;
      most_hi = std::max(most_hi, hi);
    }
    span.least_lo[g] = least_lo;
    span.most_hi[g] = most_hi;
    span.most_lo[g] = most_lo;
    span.least_hi[g] = least_hi;
  }
}

void open_span(TileSpan& span, int32_t source, int64_t begin, int64_t end) {
  span = {};
  span.source = source;
  span.begin = static_cast<int32_t>(begin);
  span.end = static_cast<int32_t>(end);
}

// The spans of a tile of several runs: one per stretch, sorted by source.
int32_t write_joined(TileSpan* out, const SpanPlan& plan, const QueryTile& tile, int32_t first_run) {
  Stretches stretches;
  for_parts(plan, tile, first_run,
            [&](const QueryRun& run, int64_t begin, int64_t end) { stretches.add(plan, run, begin, end); });
  std::array<Stretches::Stretch, Stretches::kMost> sorted;
  auto all = stretches.all();
  auto last = std::copy(all.begin(), all.end(), sorted.begin());
  std::sort(sorted.begin(), last, [](const auto& a, const auto& b) {
    return a.source != b.source ? a.source < b.source : a.place < b.place;
  });
  int32_t count = static_cast<int32_t>(all.size());
  for (int32_t i = 0; i < count; ++i) {
    const auto& stretch = sorted[static_cast<size_t>(i)];
    open_span(out[i], stretch.source, stretch.begin, stretch.end);
    for_parts(plan, tile, first_run, [&](const QueryRun& run, int64_t begin, int64_t end) {
      for (int32_t s = 0; s < run.spans; ++s) {
        const KeySpan& span = plan.spans[static_cast<size_t>(run.first_span + s)];
        if (span.source != stretch.source || Stretches::place_of(plan, run, s) != stretch.place) continue;
        write_limits(out[i], span, tile, begin, end);
      }
    });
    summarise_limits(out[i]);
  }
  return count;
}

// The spans of a tile inside one run of many spans, one by one, sorted by source.
int32_t write_single(TileSpan* out, const SpanPlan& plan, const QueryTile& tile, const QueryRun& run) {
  int32_t count = 0;
  int64_t end = tile.begin + tile.rows;
  for (int32_t source = 0; source < plan.sources; ++source) {
    for (int32_t s = 0; s < run.spans; ++s) {
      const KeySpan& span = plan.spans[static_cast<size_t>(run.first_span + s)];
      if (span.source != source) continue;
      KeyRange range{visible_keys(span, tile.begin).begin, visible_keys(span, end - 1).end};
      if (range.begin >= range.end) continue;
      open_span(out[count], source, range.begin, range.end);
      write_limits(out[count], span, tile, tile.begin, end);
      summarise_limits(out[count++]);
    }
  }
  return count;
}

bool fits(const SpanPlan& plan, const QueryTile& tile, int32_t first_run) {
  Stretches stretches;
  bool room = true;
  for_parts(plan, tile, first_run, [&](const QueryRun& run, int64_t begin, int64_t end) {
    room = room && stretches.add(plan, run, begin, end);
  });
  return room;
}

// An upper bound for the number of spans of a tile.
int64_t most_spans(const SpanPlan& plan, const QueryTile& tile, int32_t first_run) {
  int64_t total = 0;
  for_parts(plan, tile, first_run, [&](const QueryRun& run, int64_t, int64_t) { total += run.spans; });
  bool single = plan.runs[static_cast<size_t>(first_run)].end >= tile.begin + tile.rows;
  return single ? total : std::min<int64_t>(total, Stretches::kMost);
}

}  // namespace

void check_plan(const SpanPlan& plan, int64_t queries, std::span<const int64_t> keys) {
  int64_t next = 0;
  for (const QueryRun& run : plan.runs) {
    if (run.begin != next || run.end < run.begin) {
      throw LogicError({.what = "span plan: a run of queries does not continue the one before it",
                        .got = fmt::format("[{}, {})", run.begin, run.end),
                        .expected = fmt::format("a run that begins at {}", next)});
    }
    next = run.end;
    for (int32_t s = 0; s < run.spans; ++s) {
      const KeySpan& span = plan.spans[static_cast<size_t>(run.first_span + s)];
      bool known = span.source >= 0 && static_cast<size_t>(span.source) < keys.size();
      if (!known || span.begin < 0 || span.end > keys[static_cast<size_t>(span.source)]) {
        throw LogicError({.what = "span plan: keys outside their source",
                          .got = fmt::format("[{}, {}) of source {}", span.begin, span.end, span.source),
                          .expected = known ? fmt::format("at most {} keys", keys[static_cast<size_t>(span.source)])
                                            : fmt::format("a source below {}", keys.size())});
      }
    }
  }
  if (next != queries) {
    throw LogicError({.what = "span plan: wrong number of queries",
                      .got = fmt::format("{}", next),
                      .expected = fmt::format("{}", queries)});
  }
}

QueryTiles make_query_tiles(Arena& arena, const SpanPlan& plan, int64_t queries) {
  Cut cut = cut_queries(arena, plan, queries);
  int64_t most = 0;
  for (size_t t = 0; t < cut.tiles.size(); ++t) most += most_spans(plan, cut.tiles[t], cut.first_run[t]);
  auto* spans = static_cast<TileSpan*>(arena.allocate(static_cast<size_t>(most) * sizeof(TileSpan)));
  int32_t count = 0;
  for (size_t t = 0; t < cut.tiles.size(); ++t) {
    QueryTile& tile = cut.tiles[t];
    tile.first_span = count;
    tile.spans = fits(plan, tile, cut.first_run[t])
                     ? write_joined(spans + count, plan, tile, cut.first_run[t])
                     : write_single(spans + count, plan, tile, plan.runs[static_cast<size_t>(cut.first_run[t])]);
    count += tile.spans;
  }
  return {cut.tiles, {spans, static_cast<size_t>(count)}};
}

std::span<KeyTile> make_key_tiles(Arena& arena, const QueryTiles& queries, std::span<const int64_t> keys) {
  auto tiles_of = [](int64_t n) { return (n + kAttentionTile - 1) / kAttentionTile; };
  int64_t count = 0;
  for (int64_t n : keys) count += tiles_of(n);
  auto* tiles = static_cast<KeyTile*>(arena.allocate(static_cast<size_t>(count) * sizeof(KeyTile)));
  auto* first = static_cast<int64_t*>(arena.allocate(keys.size() * sizeof(int64_t)));  // tile of each source
  int64_t at = 0;
  for (size_t s = 0; s < keys.size(); ++s) {
    first[s] = at;
    for (int64_t begin = 0; begin < keys[s]; begin += kAttentionTile) {
      auto from = static_cast<int32_t>(begin), to = static_cast<int32_t>(std::min(keys[s], begin + kAttentionTile));
      tiles[at++] = {.source = static_cast<int32_t>(s), .begin = from, .end = to, .seen_end = from};
    }
  }
  for (size_t q = 0; q < queries.tiles.size(); ++q) {
    const QueryTile& tile = queries.tiles[q];
    for (const TileSpan& span :
         queries.spans.subspan(static_cast<size_t>(tile.first_span), static_cast<size_t>(tile.spans))) {
      KeyTile* of_source = tiles + first[span.source];
      for (int64_t t = span.begin / kAttentionTile; t * kAttentionTile < span.end; ++t) {
        KeyTile& seen = of_source[t];
        if (seen.visits == 0) seen.first_tile = static_cast<int64_t>(q);
        seen.last_tile = static_cast<int64_t>(q) + 1;
        seen.seen_end = std::max(seen.seen_end, std::min(seen.end, span.end));
        ++seen.visits;
      }
    }
  }
  return {tiles, static_cast<size_t>(count)};
}

}  // namespace tandem::kernels
