// Where blocks open in the rows of a training batch.
#pragma once

#include <vector>

#include "arch/config.h"
#include "base/rng.h"

namespace tandem {

// Ascending row positions in 1..length-1; the same for all rows of a batch.
// random_uniform: the count is uniform in 2..max_blocks-1, positions are drawn without replacement from 2..length-2
// (all of them when there are fewer than the count).
std::vector<int32_t> draw_boundaries(Boundaries strategy, int64_t length, int64_t max_blocks, Rng& rng);

}  // namespace tandem
