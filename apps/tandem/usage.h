// What the user reads when a command line makes no sense.
#pragma once

#include <CLI/CLI.hpp>

#include "base/error.h"

namespace tandem::app {

// The refusal of a command line as one problem: the verb, what was given, and the nearest name that exists.
InputError usage_error(const CLI::App& app, const CLI::ParseError& error);

}  // namespace tandem::app
