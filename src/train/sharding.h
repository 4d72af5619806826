// How the elements of a model's parameters are shared out over ranks: in buckets, which are exchanged as wholes, each
// bucket evenly over all ranks.
#pragma once

#include <cstdint>
#include <vector>

#include "nn/parameters.h"

namespace tandem {

// Elements [begin, end) of a parameter, counted through its rows.
struct ElementRange {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end - begin; }
  bool operator==(const ElementRange&) const = default;
};

// The elements of a tensor that lie next to each other, as [size].
Tensor elements_of(const Tensor& t, const ElementRange& range);

// A parameter is cut only at multiples of this many elements: partial sums of squares are formed over as many, so that
// the norm of a gradient has the same bits whoever owns what.
inline constexpr int64_t kShardUnit = 16384;

// Elements in a bucket, at least, for a model of so many: buckets enough for much of the exchange to run beside the
// backward pass, and none so small that its messages are mostly latency or that ranks get unequal shares.
int64_t default_bucket_elements(int64_t model_elements, int ranks);

class Sharding {
 public:
  // Buckets take parameters from the last to the first, which is about the order in which a backward pass completes
  // their gradients. None is cut: a large one is a bucket.
  Sharding(const ParameterStore& parameters, int ranks, int64_t bucket_elements);

  int ranks() const { return ranks_; }
  // Indices of parameters, in the order of ParameterStore::all().
  const std::vector<std::vector<size_t>>& buckets() const { return buckets_; }
  // Empty where the rank owns nothing of the parameter.
  ElementRange range(size_t parameter, int rank) const { return ranges_[parameter][static_cast<size_t>(rank)]; }
  int64_t owned_elements(int rank) const;

 private:
  void share_out(const ParameterStore& parameters, const std::vector<size_t>& bucket);

  int ranks_;
  std::vector<std::vector<size_t>> buckets_;
  std::vector<std::vector<ElementRange>> ranges_;  // [parameter][rank]
};

}  // namespace tandem
