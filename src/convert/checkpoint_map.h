// How another project's checkpoint stores a model's parameters, and the copies between the two.
#pragma once

#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "convert/foreign_tensors.h"
#include "formats/named_tensor.h"
#include "nn/parameters.h"

namespace tandem {

// One of their tensors: some rows of one of our parameters, or all of it.
struct ForeignPart {
  enum class Layout {
    rows,            // as ours
    by_head,         // head by head the rows of query, key and value; ours: all queries, all keys, all values
    taps_last,       // a convolution [out, in, taps]; ours [out, taps * in], tap by tap
    tiled_rows,      // rows of query heads; head h reads key head h % K; ours: h / (H / K)
    tiled_columns,   // the same of the columns
    adjacent_pairs,  // in each head, features 2i and 2i + 1 turn together; ours: i and i + D/2
  };
  std::string name;
  Shape shape;  // of their tensor
  Layout layout = Layout::rows;
  int64_t heads = 0;      // of queries; where the layout is one of heads
  int64_t key_heads = 0;  // tiled_rows, tiled_columns
};

struct CheckpointMap {
  // Their tensors whose rows, in this order, are the parameter's. InputError for one that they do not have.
  std::function<std::vector<ForeignPart>(const Parameter&)> parts;
  // Tensors of theirs that nothing needs; none when it is empty.
  std::function<bool(std::string_view)> ignores;
};

// Parts of a parameter with `names`, which have equally many rows unless `rows` says how many.
std::vector<ForeignPart> parts_of(const Parameter& p, const std::vector<std::string>& names,
                                  const std::vector<int64_t>& rows = {});

// Called between tensors: the share that is done, and the name of the next one.
using ConvertProgress = std::function<void(double fraction, std::string_view name)>;

// Fills the masters of all parameters. InputError when a tensor is missing, superfluous, of another shape, or of
// integers.
void read_checkpoint(ForeignTensors& from, const CheckpointMap& map, ParameterStore& to,
                     const ConvertProgress& progress);

// The masters as their tensors in `dtype`. What is not a view of a master lives in `made`.
std::vector<NamedTensor> checkpoint_entries(const ParameterStore& from, const CheckpointMap& map, DType dtype,
                                            std::deque<Storage>& made, const ConvertProgress& progress);

}  // namespace tandem
