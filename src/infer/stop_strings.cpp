#include "infer/stop_strings.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace tandem {

StopStrings::StopStrings(std::vector<std::string> stops) : stops_(std::move(stops)) {
  for (const std::string& stop : stops_) {
    if (stop.empty()) throw InputError({.what = "empty stop string"});
  }
}

std::string StopStrings::push(std::string_view piece) {
  if (found_) return {};
  pending_ += piece;
  // Text in front of `safe` is certain: no stop string begins there, not even one whose end has yet to come. A stop
  // string that is complete but begins behind `safe` waits, since an earlier one may still be completed.
  size_t safe = 0;
  for (; safe < pending_.size(); ++safe) {
    std::string_view rest = std::string_view(pending_).substr(safe);
    bool complete =
        std::any_of(stops_.begin(), stops_.end(), [&](const std::string& s) { return rest.starts_with(s); });
    bool begun = std::any_of(stops_.begin(), stops_.end(),
                             [&](const std::string& s) { return std::string_view(s).starts_with(rest); });
    if (complete) {
      found_ = true;
      return std::exchange(pending_, {}).substr(0, safe);
    }
    if (begun) break;
  }
  std::string certain = pending_.substr(0, safe);
  pending_.erase(0, safe);
  return certain;
}

std::string StopStrings::finish() {
  // A stop string may be complete behind one that was begun and never ended.
  size_t end = pending_.size();
  for (const std::string& stop : stops_) end = std::min(end, pending_.find(stop));
  found_ = found_ || end < pending_.size();
  return std::exchange(pending_, {}).substr(0, end);
}

}  // namespace tandem
