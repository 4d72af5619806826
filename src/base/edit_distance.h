// How far apart two words are: for "did you mean" hints.
#pragma once

#include <cstddef>
#include <string_view>

namespace tandem {

// Insertions, deletions, replacements and swaps of neighbours that turn a into b (optimal string alignment).
size_t edit_distance(std::string_view a, std::string_view b);

}  // namespace tandem
