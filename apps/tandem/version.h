// What this program is made of.
#pragma once

#include <string>

namespace tandem::app {

// Version, commit, compiler, instruction set, libraries: one item a line, for --version.
std::string version_text();

}  // namespace tandem::app
