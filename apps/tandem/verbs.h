// The verbs of the program. Each registers its options on the app and runs when its command was given.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace tandem::app {

// Set by the verb that was chosen; its return value is the exit code.
using Action = std::function<int()>;

}  // namespace tandem::app
