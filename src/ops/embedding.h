// Token vectors: out[t, :] = table[ids[t], :].
#pragma once

#include <span>

#include "ops/tape.h"

namespace tandem::ops {

// table [V, d] -> [T, d] on the residual stream. InputError for an id outside 0..V-1. `ids` must outlive backward().
Var embedding(Tape& tape, const Weight& table, std::span<const int32_t> ids);

}  // namespace tandem::ops
