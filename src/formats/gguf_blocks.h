// The tensor types of GGUF element by element: sizes, names, and the blocks of 32 of quantized types
// (https://github.com/ggml-org/ggml, ggml-common.h and ggml-quants.c: block_q4_0 and its like).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "formats/gguf.h"

namespace tandem {

constexpr int64_t kGgufBlock = 32;  // elements of a block of the quantized types

bool is_readable(uint32_t type);
// "Q8_0", or "type 77"; of types that cannot be read too.
std::string gguf_type_text(uint32_t type);
bool is_quantized(GgufTensorType type);
// Bytes of `elements`, a multiple of kGgufBlock for quantized types.
int64_t gguf_bytes(GgufTensorType type, int64_t elements);
// As which type of Tensor it is read.
DType gguf_read_as(GgufTensorType type);
bool gguf_is_converted(GgufTensorType type);

// Converts `elements` elements to gguf_read_as(type); only of types that are converted.
void gguf_unpack(GgufTensorType type, const std::byte* from, int64_t elements, std::byte* to);

// float32 to f32, float16, bfloat16, q8_0 or q4_0; `to` has gguf_bytes(type, row.size()) bytes. False when a value
// cannot be packed: it is not finite, or too large for its block's scale in float16 (of quantized types alone).
bool gguf_pack(GgufTensorType type, std::span<const float> row, std::byte* to);
bool gguf_can_pack(GgufTensorType type);

}  // namespace tandem
