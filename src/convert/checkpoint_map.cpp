#include "convert/checkpoint_map.h"

#include <set>

#include "base/error.h"

namespace tandem {
namespace {

using Layout = ForeignPart::Layout;

// Where element i of row r of ours stands in theirs.
struct Place {
  int64_t row = 0;
  int64_t column = 0;
};

// Where element i of the query heads' H * D stands when the heads are tiled.
int64_t tiled(const ForeignPart& part, int64_t elements, int64_t i) {
  int64_t size = elements / part.heads, head = i / size, group = part.heads / part.key_heads;
  return (head % group * part.key_heads + head / group) * size + i % size;
}

Place place_of(const ForeignPart& part, int64_t rows, int64_t columns, int64_t r, int64_t i) {
  switch (part.layout) {
    case Layout::rows: break;
    case Layout::by_head: {
      int64_t size = rows / (3 * part.heads), kind = r / (part.heads * size), head = r / size % part.heads;
      return {(head * 3 + kind) * size + r % size, i};
    }
    case Layout::taps_last: {
      int64_t taps = part.shape[2], inputs = columns / taps;
      return {r, i % inputs * taps + i / inputs};
    }
    case Layout::tiled_rows: return {tiled(part, rows, r), i};
    case Layout::tiled_columns: return {r, tiled(part, columns, i)};
    case Layout::adjacent_pairs: {
      int64_t size = rows / part.heads, half = size / 2, feature = r % size;
      return {r - feature + feature % half * 2 + feature / half, i};
    }
  }
  return {r, i};
}

void copy_in(const Tensor& ours, const Tensor& theirs, const ForeignPart& part) {
  if (part.layout == Layout::rows) return copy_convert(ours, theirs);
  for (int64_t r = 0; r < ours.rows(); ++r) {
    for (int64_t i = 0; i < ours.row_size(); ++i) {
      Place place = place_of(part, ours.rows(), ours.row_size(), r, i);
      store_element(ours, r, i, load_element(theirs, place.row, place.column));
    }
  }
}

void copy_out(const Tensor& theirs, const Tensor& ours, const ForeignPart& part) {
  if (part.layout == Layout::rows) return copy_convert(theirs, ours);
  for (int64_t r = 0; r < ours.rows(); ++r) {
    for (int64_t i = 0; i < ours.row_size(); ++i) {
      Place place = place_of(part, ours.rows(), ours.row_size(), r, i);
      store_element(theirs, place.row, place.column, load_element(ours, r, i));
    }
  }
}

bool real(DType dtype) {
  return dtype == DType::f32 || dtype == DType::bf16 || dtype == DType::f16 || dtype == DType::f64;
}

Tensor fitting_tensor(ForeignTensors& from, const ForeignPart& part) {
  Tensor stored = from.tensor(part.name);
  if (stored.shape == part.shape && real(stored.dtype)) return stored;
  throw InputError({.what = "tensor does not fit the model",
                    .where = fmt::format("'{}' of {}", part.name, from.path().string()),
                    .got = fmt::format("{} {}", dtype_name(stored.dtype), stored.shape.text()),
                    .expected = fmt::format("real numbers {}", part.shape.text())});
}

}  // namespace

std::vector<ForeignPart> parts_of(const Parameter& p, const std::vector<std::string>& names,
                                  const std::vector<int64_t>& rows) {
  const Shape& shape = p.shape();
  auto count = static_cast<int64_t>(names.size());
  if (count == 0) throw InputError({.what = "parameter that the other format does not have", .got = p.name()});
  if (count == 1) return {{names[0], shape}};
  std::vector<ForeignPart> parts;
  for (size_t i = 0; i < names.size(); ++i) {
    int64_t own = rows.empty() ? shape[0] / count : rows[i];
    parts.push_back({names[i], shape.rank() == 1 ? Shape{own} : Shape{own, shape[1]}});
  }
  return parts;
}

void read_checkpoint(ForeignTensors& from, const CheckpointMap& map, ParameterStore& to,
                     const ConvertProgress& progress) {
  std::set<std::string, std::less<>> used;
  int64_t done = 0, all = std::max<int64_t>(to.elements(), 1);
  for (Parameter& p : to.all()) {
    int64_t row = 0;
    for (const ForeignPart& part : map.parts(p)) {
      progress(static_cast<double>(done) / static_cast<double>(all), part.name);
      Tensor stored = fitting_tensor(from, part);
      copy_in(p.master().slice_rows(row, row + stored.rows()), stored, part);
      row += stored.rows();
      done += stored.elements();
      used.insert(part.name);
      from.release();
    }
    if (row != p.shape()[0]) throw LogicError({.what = "parts that do not make up the parameter", .got = p.name()});
  }
  for (const std::string& name : from.names()) {
    if (used.count(name) || (map.ignores && map.ignores(name))) continue;
    throw InputError({.what = "tensor that the model does not have",
                      .where = from.path().string(),
                      .got = "'" + name + "'",
                      .hint = "does the config belong to this checkpoint?"});
  }
}

std::vector<NamedTensor> checkpoint_entries(const ParameterStore& from, const CheckpointMap& map, DType dtype,
                                            std::deque<Storage>& made, const ConvertProgress& progress) {
  std::vector<NamedTensor> entries;
  int64_t done = 0, all = std::max<int64_t>(from.elements(), 1);
  for (const Parameter& p : from.all()) {
    int64_t row = 0;
    for (const ForeignPart& part : map.parts(p)) {
      progress(static_cast<double>(done) / static_cast<double>(all), part.name);
      int64_t rows = part.shape[0];
      Tensor ours = p.master().slice_rows(row, row + rows);
      if (part.layout == Layout::rows && dtype == DType::f32) {
        entries.push_back({part.name, ours.view(part.shape)});
      } else {
        Tensor theirs = made.emplace_back(dtype, part.shape).tensor();
        copy_out(theirs, ours, part);
        entries.push_back({part.name, theirs});
      }
      row += rows;
      done += ours.elements();
    }
  }
  return entries;
}

}  // namespace tandem
