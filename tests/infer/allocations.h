// Counts what is allocated with new, for tests of code that allocates nothing in steady state.
#pragma once

#include <cstdint>

namespace tandem::test {

// Allocations of this thread so far.
int64_t allocations();

}  // namespace tandem::test
