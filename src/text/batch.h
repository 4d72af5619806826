// Rows of tokens on their way into a model. Shared by data (which packs them) and arch (which prepares them).
#pragma once

#include <cstdint>
#include <vector>

namespace tandem {

inline constexpr int32_t kIgnoreLabel = -100;

// `rows` rows of `length` tokens, flattened: token t of row b stands at b * length + t.
struct Batch {
  int64_t rows = 0;
  int64_t length = 0;
  std::vector<int32_t> ids;        // [rows * length]
  std::vector<int32_t> positions;  // [rows * length]; 0..length-1 in each row
  std::vector<int32_t> segments;   // [rows * length]; number of the document inside its row, from 0
  std::vector<int32_t> labels;     // [rows * length]; the next token, or kIgnoreLabel
  // Row positions at which a block opens (not 0), ascending, one set for all rows. Drawn by the double decoder's
  // prepare(); ignored by architectures without blocks.
  std::vector<int32_t> boundaries;

  int64_t tokens() const { return rows * length; }
  int64_t labelled() const {
    int64_t n = 0;
    for (int32_t label : labels) n += label != kIgnoreLabel;
    return n;
  }
};

}  // namespace tandem
