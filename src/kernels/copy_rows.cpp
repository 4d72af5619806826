#include "kernels/copy_rows.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace tandem::kernels {
namespace {

constexpr int64_t kRowsPerChunk = 64;

void check(const char* op, const Tensor& to, const Tensor& from, std::span<const int32_t> places, int64_t count,
           int64_t rows) {
  bool fits = to.dtype == from.dtype && to.row_size() == from.row_size() &&
              static_cast<int64_t>(places.size()) == count &&
              std::all_of(places.begin(), places.end(), [&](int32_t place) { return place < rows; });
  if (fits) return;
  throw LogicError({.what = fmt::format("{}: operands do not fit together", op),
                    .got = fmt::format("{} {} to {} {}, {} places", dtype_name(from.dtype), from.shape.text(),
                                       dtype_name(to.dtype), to.shape.text(), places.size())});
}

template <class Body>
void in_chunks(Context& ctx, int64_t rows, const Body& body) {
  ctx.pool().run((rows + kRowsPerChunk - 1) / kRowsPerChunk, [&](int64_t chunk, int) {
    int64_t end = std::min(rows, (chunk + 1) * kRowsPerChunk);
    for (int64_t i = chunk * kRowsPerChunk; i < end; ++i) body(i);
  });
}

char* row_of(const Tensor& t, int64_t row) {
  return static_cast<char*>(t.data) + row * t.row_stride * dtype_bytes(t.dtype);
}

}  // namespace

void scatter_rows(Context& ctx, const Tensor& to, std::span<const int32_t> slots, const Tensor& from) {
  check("scatter_rows", to, from, slots, from.rows(), to.rows());
  auto bytes = static_cast<size_t>(from.row_size() * dtype_bytes(from.dtype));
  ProfileScope scope(ctx.profiler(), "copy rows", 0, 2.0 * static_cast<double>(from.bytes()));
  in_chunks(ctx, from.rows(), [&](int64_t i) {
    int32_t slot = slots[static_cast<size_t>(i)];
    if (slot >= 0) std::memcpy(row_of(to, slot), row_of(from, i), bytes);
  });
}

void gather_rows(Context& ctx, const Tensor& to, const Tensor& from, std::span<const int32_t> rows) {
  check("gather_rows", to, from, rows, to.rows(), from.rows());
  auto bytes = static_cast<size_t>(to.row_size() * dtype_bytes(to.dtype));
  ProfileScope scope(ctx.profiler(), "copy rows", 0, 2.0 * static_cast<double>(to.bytes()));
  in_chunks(ctx, to.rows(), [&](int64_t i) {
    int32_t row = rows[static_cast<size_t>(i)];
    if (row >= 0) {
      std::memcpy(row_of(to, i), row_of(from, row), bytes);
    } else {
      std::memset(row_of(to, i), 0, bytes);
    }
  });
}

void gather_rows(Context& ctx, const Tensor& to, const Tensor& from, const Tensor& fresh,
                 std::span<const int32_t> rows) {
  check("gather_rows", to, from, rows, to.rows(), from.rows());
  bool fits = fresh.dtype == to.dtype && fresh.row_size() == to.row_size() &&
              std::all_of(rows.begin(), rows.end(), [&](int32_t row) { return row > fresh_row(fresh.rows()); });
  if (!fits) throw LogicError({.what = "gather_rows: new rows do not fit", .got = fresh.shape.text()});
  auto bytes = static_cast<size_t>(to.row_size() * dtype_bytes(to.dtype));
  ProfileScope scope(ctx.profiler(), "copy rows", 0, 2.0 * static_cast<double>(to.bytes()));
  in_chunks(ctx, to.rows(), [&](int64_t i) {
    int32_t row = rows[static_cast<size_t>(i)];
    if (row == -1) {
      std::memset(row_of(to, i), 0, bytes);
    } else {
      std::memcpy(row_of(to, i), row >= 0 ? row_of(from, row) : row_of(fresh, -2 - int64_t{row}), bytes);
    }
  });
}

}  // namespace tandem::kernels
