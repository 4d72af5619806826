// The shapes of the tile registers (AMX), as LDTILECFG reads them.
#pragma once

#include <stdint.h>

namespace tandem::cpu::TANDEM_ISA_NAMESPACE {

inline constexpr int64_t kTileRows = 16, kTileBytes = 64;  // of the largest tile
inline constexpr int kTiles = 8;

// Intel SDM, volume 2, LDTILECFG. A tile that is not used has neither rows nor bytes.
struct alignas(64) TileConfig {
  uint8_t palette;  // 1
  uint8_t start_row;
  uint8_t reserved[14];
  uint16_t row_bytes[16];  // kTiles of them
  uint8_t rows[16];
};
static_assert(sizeof(TileConfig) == 64);

inline TileConfig whole_tiles() {
  TileConfig config = {};
  config.palette = 1;
  for (int t = 0; t < kTiles; ++t) {
    config.rows[t] = kTileRows;
    config.row_bytes[t] = kTileBytes;
  }
  return config;
}

}  // namespace tandem::cpu::TANDEM_ISA_NAMESPACE
