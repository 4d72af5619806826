// Shapes from lists of sizes, as files have them.
#pragma once

#include <optional>
#include <span>

#include "tensor/shape.h"

namespace tandem {

// Elements of a tensor with these sizes, none negative; nothing where those that are not 0 multiply to 2^60 or more,
// also beside a 0. Within that, 63 bits hold the bytes of any type and every partial product, in whatever order.
inline std::optional<int64_t> element_count(std::span<const int64_t> sizes) {
  int64_t bytes = 8;  // of the widest type
  bool empty = false;
  for (int64_t size : sizes) {
    empty |= size == 0;
    if (size != 0 && __builtin_mul_overflow(bytes, size, &bytes)) return std::nullopt;
  }
  return empty ? 0 : bytes / 8;
}

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
