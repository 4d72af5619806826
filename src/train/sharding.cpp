#include "train/sharding.h"

#include <algorithm>

#include "kernels/adamw_state.h"
#include "kernels/chunks.h"

namespace tandem {

static_assert(kShardUnit == kernels::kChunkElements, "kernels::sum_of_squares forms its partial sums over these");
static_assert(kShardUnit % kernels::kStateBlock == 0, "scales of 8-bit moments have one owner");

Tensor elements_of(const Tensor& t, const ElementRange& range) {
  auto* data = static_cast<char*>(t.data) + range.begin * dtype_bytes(t.dtype);
  return {data, t.dtype, {range.size()}};
}

int64_t default_bucket_elements(int64_t model_elements, int ranks) {
  constexpr int64_t kBuckets = 12, kFewest = 64 * 1024, kMost = 8 * 1024 * 1024, kUnitsPerRank = 2;
  int64_t fewest = std::max(kFewest, kUnitsPerRank * kShardUnit * ranks);
  return std::clamp(model_elements / kBuckets, fewest, std::max(fewest, kMost));
}

Sharding::Sharding(const ParameterStore& parameters, int ranks, int64_t bucket_elements) : ranks_(ranks) {
  size_t count = parameters.all().size();
  ranges_.assign(count, std::vector<ElementRange>(static_cast<size_t>(ranks)));
  int64_t filled = bucket_elements;
  for (size_t index = count; index-- > 0;) {
    if (filled >= bucket_elements) {
      buckets_.emplace_back();
      filled = 0;
    }
    buckets_.back().push_back(index);
    filled += parameters.all()[index].shape().elements();
  }
  for (const std::vector<size_t>& bucket : buckets_) share_out(parameters, bucket);
}

// A unit goes to the rank in whose even share of the bucket its middle lies.
void Sharding::share_out(const ParameterStore& parameters, const std::vector<size_t>& bucket) {
  int64_t all = 0, done = 0;
  for (size_t index : bucket) all += parameters.all()[index].shape().elements();
  for (size_t index : bucket) {
    int64_t elements = parameters.all()[index].shape().elements();
    for (int64_t begin = 0; begin < elements; begin += kShardUnit) {
      int64_t end = std::min(elements, begin + kShardUnit);
      int64_t middle = done + begin + (end - begin) / 2;
      ElementRange& range = ranges_[index][static_cast<size_t>(middle * ranks_ / all)];
      range = {range.size() > 0 ? range.begin : begin, end};
    }
    done += elements;
  }
}

int64_t Sharding::owned_elements(int rank) const {
  int64_t elements = 0;
  for (const std::vector<ElementRange>& ranges : ranges_) elements += ranges[static_cast<size_t>(rank)].size();
  return elements;
}

}  // namespace tandem
