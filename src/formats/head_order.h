// Grouped queries in the order of another project: a permutation of query heads.
#pragma once

#include <string_view>

#include "tensor/tensor.h"

namespace tandem {

// Which key head a query head reads, of H query heads and K key heads.
enum class HeadOrder {
  grouped,  // h reads h / (H / K): ours
  tiled,    // h reads h % K: Mu's, unless its config says is_interleaved
};

struct HeadCounts {
  int64_t query = 0;
  int64_t key_value = 0;
  int64_t head_dim = 0;
};

// Puts the query heads of the parameter `ours`, [rows, columns] or [rows] in float32, from one order into the other:
// the first rows of projections to queries and of their biases, the columns of projections from what attention gives.
// Parameters of other names are left alone. Keys and values keep their order.
void reorder_query_heads(std::string_view ours, const Tensor& t, const HeadCounts& heads, HeadOrder from, HeadOrder to);

}  // namespace tandem
