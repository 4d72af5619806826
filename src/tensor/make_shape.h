// Shapes from lists of sizes, as files have them.
#pragma once

#include <span>

#include "tensor/shape.h"

namespace tandem {

// At most Shape's four dimensions.
inline Shape make_shape(std::span<const int64_t> sizes) {
  switch (sizes.size()) {
    case 0: return {};
    case 1: return {sizes[0]};
    case 2: return {sizes[0], sizes[1]};
    case 3: return {sizes[0], sizes[1], sizes[2]};
    default: return {sizes[0], sizes[1], sizes[2], sizes[3]};
  }
}

}  // namespace tandem
