#include "kernels/span_plan.h"

#include <algorithm>

namespace tandem {
namespace {

// Sum over the queries i of [begin, end) of the number of keys j of [first, last) with j <= i + shift: that number is
// i + shift + 1 - first, clamped to 0..last-first, so the sum is a triangle followed by a rectangle.
int64_t pairs_up_to(int64_t begin, int64_t end, int64_t first, int64_t last, int64_t shift) {
  int64_t keys = last - first;
  int64_t rising = std::clamp(first - shift, begin, end);   // from here on at least one key
  int64_t all = std::clamp(last - 1 - shift, rising, end);  // from here on every key
  int64_t low = rising + shift + 1 - first, count = all - rising;
  int64_t triangle = count > 0 ? count * low + count * (count - 1) / 2 : 0;
  return triangle + (end - all) * keys;
}

}  // namespace

KeyRange visible_keys(const KeySpan& span, int64_t query) {
  int64_t begin = std::clamp(query + span.shift - span.window + 1, span.begin, span.end);
  int64_t end = std::clamp(query + span.shift + 1, begin, span.end);
  return {begin, end};
}

int64_t SpanPlan::allowed_pairs() const {
  int64_t total = 0;
  for (const QueryRun& run : runs) {
    for (int32_t s = 0; s < run.spans; ++s) {
      const KeySpan& span = spans[static_cast<size_t>(run.first_span + s)];
      if (span.window <= 0) continue;
      total += pairs_up_to(run.begin, run.end, span.begin, span.end, span.shift) -
               pairs_up_to(run.begin, run.end, span.begin, span.end, span.shift - span.window);
    }
  }
  return total;
}

}  // namespace tandem
