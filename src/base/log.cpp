#include "base/log.h"

#include <cstdio>

namespace tandem::log {

void info(std::string_view line) { fmt::print(stderr, "{}\n", line); }
void warn(std::string_view line) { fmt::print(stderr, "warning: {}\n", line); }

}  // namespace tandem::log
