// Text from outside (names of runs, labels, configs) made safe to draw and to embed.
#pragma once

#include <string>
#include <string_view>

namespace tandem {

// Well-formed UTF-8 throughout (Unicode 15, table 3-7)?
bool is_utf8(std::string_view text);

// Valid UTF-8: each byte that belongs to no well-formed character (Unicode 15, table 3-7) becomes U+FFFD, control
// characters other than tab and line feed are dropped.
std::string clean_text(std::string_view text);

// The first `most` characters (code points), the last of them an ellipsis when some were left out.
std::string shorten(std::string_view clean, size_t most);

}  // namespace tandem
