// Masks as spans. Attention never sees a matrix of allowed pairs: a plan lists runs of queries and, for each run, the
// stretches of keys that it may see, each in one of several sources. Causal, packed documents, double-causal blocks,
// sliding windows, prefixes, cross-attention and caches are all plans.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

namespace tandem {

// Keys [begin, end) of one source. With i the index of a query and j of a key (both rows of their tensors), query i
// sees key j of the span when  i + shift - window < j <= i + shift.  The defaults make the span visible as a whole;
// shift = (key row of the query's own token) - (query row) makes it causal.
struct KeySpan {
  static constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max() / 4;

  int32_t source = 0;
  int64_t begin = 0;
  int64_t end = 0;
  int64_t shift = kNoLimit;       // kNoLimit: no causal limit
  int64_t window = 2 * kNoLimit;  // number of latest keys seen; the default: all
};

// The keys [begin, end) of `span` that `query` sees; empty (begin == end) when it sees none.
struct KeyRange {
  int64_t begin = 0;
  int64_t end = 0;
};
KeyRange visible_keys(const KeySpan& span, int64_t query);

// Queries [begin, end) and their spans [first_span, first_span + spans) of the plan.
struct QueryRun {
  int64_t begin = 0;
  int64_t end = 0;
  int32_t first_span = 0;
  int32_t spans = 0;
};

// The two ways to walk over a plan: tiles of queries over packed tiles of keys, for keys that many queries see; or each
// query by itself over the keys in place. A query's result does not depend on the other queries of its way, but the two
// ways round differently: where results must not depend on what else is in a pass, the way is not left to chance.
enum class QueryOrder { automatic, by_tile, by_query };

struct SpanPlan {
  int32_t sources = 1;
  QueryOrder order = QueryOrder::automatic;
  std::vector<QueryRun> runs;  // disjoint, ascending; together they cover every query
  std::vector<KeySpan> spans;

  void clear(int32_t source_count) {
    sources = source_count;
    order = QueryOrder::automatic;
    runs.clear();
    spans.clear();
  }
  void add_run(int64_t begin, int64_t end) { runs.push_back({begin, end, static_cast<int32_t>(spans.size()), 0}); }
  void add_span(const KeySpan& span) {  // to the run added last
    if (span.begin >= span.end) return;
    spans.push_back(span);
    ++runs.back().spans;
  }
  // Pairs of query and key (counted once per head) that the plan allows: what attention has to compute.
  int64_t allowed_pairs() const;
};

}  // namespace tandem
