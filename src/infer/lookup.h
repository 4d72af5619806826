// Proposals for speculative decoding out of the sequence itself (prompt lookup decoding, Saxena 2023).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "infer/generation.h"

namespace tandem {

// Fills `draft` with what may follow `history`: what followed its last tokens the last time that they occurred, of
// which options.longest are looked for first, and where these occur once only, fewer, down to options.shortest. Where
// that runs into the end of the history it goes on with the draft itself, as a loop would. At most `most` tokens; none
// when nothing is found.
void propose_by_lookup(std::span<const int32_t> history, const SpeculationOptions& options, int64_t most,
                       std::vector<int32_t>& draft);

}  // namespace tandem
