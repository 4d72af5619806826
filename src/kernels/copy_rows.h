// Rows copied to and from given places: how new keys and values get into the pages of a cache, and out of them.
// Tensors have one type and row size; rows are whole (a row stride is allowed).
#pragma once

#include <span>

#include "kernels/context.h"

namespace tandem::kernels {

// to[slots[i]] = from[i]; slots are distinct rows of `to`, or negative for rows that go nowhere.
void scatter_rows(Context& ctx, const Tensor& to, std::span<const int32_t> slots, const Tensor& from);

// to[i] = from[rows[i]]; zeros where rows[i] is negative.
void gather_rows(Context& ctx, const Tensor& to, const Tensor& from, std::span<const int32_t> rows);

// The same from two tensors: fresh[j] where rows[i] = fresh_row(j).
inline int32_t fresh_row(int64_t row) { return static_cast<int32_t>(-2 - row); }
void gather_rows(Context& ctx, const Tensor& to, const Tensor& from, const Tensor& fresh,
                 std::span<const int32_t> rows);

}  // namespace tandem::kernels
