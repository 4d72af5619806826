// What comes in on standard input.
#pragma once

#include <string>

namespace tandem::app {

// All of it, byte for byte.
std::string read_standard_input();

}  // namespace tandem::app
