// Traces that Chrome (chrome://tracing), Perfetto and Speedscope open: the "Trace Event Format", complete events.
#pragma once

#include <span>
#include <string>

#include "base/profile.h"

namespace tandem {

// One JSON object. Times begin with the first event, in microseconds; arguments are rates, where there is something to
// count.
std::string chrome_trace(std::span<const ProfileEvent> events, const std::string& process);

}  // namespace tandem
