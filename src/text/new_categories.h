// General categories of characters that came with Unicode 15 and 16: the library's patterns know them, the installed
// PCRE2 (10.42, Unicode 14) does not.
#pragma once

#include <string>
#include <string_view>

namespace tandem {

// Members of a general category ("Lu", or "L" for all letters) as the contents of a character class; empty when there
// is none.
std::string new_members(std::string_view category);

}  // namespace tandem
