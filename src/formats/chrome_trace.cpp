#include "formats/chrome_trace.h"

#include <algorithm>

#include "base/json.h"

namespace tandem {

std::string chrome_trace(std::span<const ProfileEvent> events, const std::string& process) {
  auto earlier = [](const ProfileEvent& a, const ProfileEvent& b) { return a.start < b.start; };
  auto first = std::min_element(events.begin(), events.end(), earlier);
  const double begin = first == events.end() ? 0 : first->start;
  OrderedJson list = OrderedJson::array();
  list.push_back({{"name", "process_name"}, {"ph", "M"}, {"pid", 1}, {"tid", 1}, {"args", {{"name", process}}}});
  for (const ProfileEvent& event : events) {
    OrderedJson args = OrderedJson::object();
    if (event.flops > 0 && event.seconds > 0) args["GFLOP/s"] = event.flops / event.seconds / 1e9;
    if (event.bytes > 0 && event.seconds > 0) args["GB/s"] = event.bytes / event.seconds / 1e9;
    list.push_back({{"name", event.name},
                    {"ph", "X"},
                    {"pid", 1},
                    {"tid", 1},
                    {"ts", (event.start - begin) * 1e6},
                    {"dur", event.seconds * 1e6},
                    {"args", std::move(args)}});
  }
  return OrderedJson{{"traceEvents", std::move(list)}, {"displayTimeUnit", "ms"}}.dump() + "\n";
}

}  // namespace tandem
