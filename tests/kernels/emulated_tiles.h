// The tile instructions of AMX in plain C++ (Intel SDM, volume 2: LDTILECFG, TILELOADD, TILESTORED, TILEZERO,
// TDPBF16PS, TILERELEASE), for machines that lack them. What a processor refuses is a std::logic_error: shapes out of
// range or that do not fit each other, reserved bytes that are not zero, tiles that are not configured. Each thread has
// tiles of its own, as it has registers.
#pragma once

#include <cstdint>

namespace tandem::testing {

class EmulatedTiles {
 public:
  static void configure(const void* config);  // 64 bytes
  static void release();
  static void zero(int tile);
  static void load(int tile, const void* from, int64_t stride);
  static void store(int tile, void* to, int64_t stride);
  static void multiply(int sum, int a, int b);

  // Of this thread.
  static bool configured();
  struct Counts {
    int64_t configured = 0, loads = 0, stores = 0, multiplied = 0;
  };
  static Counts& counts();
};

}  // namespace tandem::testing
