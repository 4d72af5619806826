// What a span plan lets through, one pair at a time.
#pragma once

#include "kernels/span_plan.h"

namespace tandem::test {

// True when `query` sees `key` of `source`.
inline bool sees(const SpanPlan& plan, int64_t query, int32_t source, int64_t key) {
  for (const QueryRun& run : plan.runs) {
    if (query < run.begin || query >= run.end) continue;
    for (int32_t s = run.first_span; s < run.first_span + run.spans; ++s) {
      const KeySpan& span = plan.spans[static_cast<size_t>(s)];
      KeyRange range = visible_keys(span, query);
      if (span.source == source && key >= range.begin && key < range.end) return true;
    }
  }
  return false;
}

}  // namespace tandem::test
