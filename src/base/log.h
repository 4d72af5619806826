// Messages for the person at the terminal. Everything goes to stderr; stdout belongs to results.
#pragma once

#include <fmt/format.h>

#include <string_view>

namespace tandem::log {

void info(std::string_view line);
void warn(std::string_view line);

template <class... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
  info(std::string_view(fmt::format(format, std::forward<Args>(args)...)));
}
template <class... Args>
void warn(fmt::format_string<Args...> format, Args&&... args) {
  warn(std::string_view(fmt::format(format, std::forward<Args>(args)...)));
}

}  // namespace tandem::log
