// Small things that all ranks decide or know together. Everybody calls the same function in the same order; all of them
// wait. One process alone gets its own values back.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "dist/communicator.h"

namespace tandem {

// Tags of exchanges that run beside these begin here.
inline constexpr int kFirstFreeTag = 4;

// Sums over ranks, in the order of ranks, in place.
void all_reduce(Communicator& ranks, std::span<float> values);
void all_reduce(Communicator& ranks, std::span<double> values);

// Everybody's text, by rank.
std::vector<std::string> all_gather(Communicator& ranks, const std::string& own);

// The text of rank `root`.
std::string broadcast(Communicator& ranks, const std::string& text, int root = 0);
int64_t broadcast(Communicator& ranks, int64_t value, int root = 0);

// Returns when everybody has come here.
void barrier(Communicator& ranks);

// Bytes that all ranks together send for the all-reduce of `doubles` doubles: prediction of traffic.
constexpr int64_t all_reduce_bytes(int64_t doubles, int ranks) { return 2 * 8 * doubles * (ranks - 1); }

}  // namespace tandem
