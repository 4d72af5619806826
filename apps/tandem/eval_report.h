// What eval says about tasks: a table on the terminal, a page with pictures.
#pragma once

#include <filesystem>
#include <string>

#include "base/json_fwd.h"

namespace tandem::app {

std::string task_report(const OrderedJson& tasks);
std::string choice_report(const OrderedJson& sets);

// tasks.html, and needle.svg when a needle was asked for, of an object with "model" and "tasks" or "choice".
void write_task_page(const std::filesystem::path& folder, const OrderedJson& json);

}  // namespace tandem::app
