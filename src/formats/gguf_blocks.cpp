#include "formats/gguf_blocks.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "tensor/half.h"

namespace tandem {
namespace {

struct TypeName {
  uint32_t type;
  const char* name;
};

constexpr std::array kNames{
    TypeName{0, "F32"},      TypeName{1, "F16"},     TypeName{2, "Q4_0"},     TypeName{3, "Q4_1"},
    TypeName{6, "Q5_0"},     TypeName{7, "Q5_1"},    TypeName{8, "Q8_0"},     TypeName{9, "Q8_1"},
    TypeName{10, "Q2_K"},    TypeName{11, "Q3_K"},   TypeName{12, "Q4_K"},    TypeName{13, "Q5_K"},
    TypeName{14, "Q6_K"},    TypeName{15, "Q8_K"},   TypeName{16, "IQ2_XXS"}, TypeName{17, "IQ2_XS"},
    TypeName{18, "IQ3_XXS"}, TypeName{19, "IQ1_S"},  TypeName{20, "IQ4_NL"},  TypeName{21, "IQ3_S"},
    TypeName{22, "IQ2_S"},   TypeName{23, "IQ4_XS"}, TypeName{24, "I8"},      TypeName{25, "I16"},
    TypeName{26, "I32"},     TypeName{27, "I64"},    TypeName{28, "F64"},     TypeName{29, "IQ1_M"},
    TypeName{30, "BF16"},    TypeName{34, "TQ1_0"},  TypeName{35, "TQ2_0"},   TypeName{39, "MXFP4"},
};

template <class T>
T load(const std::byte* from) {
  T out;
  std::memcpy(&out, from, sizeof out);
  return out;
}
template <class T>
void store(std::byte* to, T value) {
  std::memcpy(to, &value, sizeof value);
}

// The layout of a block: d, then m (q4_1, q5_1), then the fifth bits (q5_0, q5_1), then 16 bytes of two numbers, the
// first and the second half of the block.
struct Nibbles {
  bool offset;  // has m
  bool fifth;
};

void unpack_nibbles(const std::byte* block, Nibbles layout, float* out) {
  float d = half_to_float(load<uint16_t>(block));
  block += 2;
  float m = 0;
  if (layout.offset) {
    m = half_to_float(load<uint16_t>(block));
    block += 2;
  }
  uint32_t fifth = 0;
  if (layout.fifth) {
    fifth = load<uint32_t>(block);
    block += 4;
  }
  // Without m the numbers are signed.
  int32_t middle = layout.offset ? 0 : layout.fifth ? 16 : 8;
  for (uint32_t i = 0; i < 32; ++i) {
    auto byte = std::to_integer<uint32_t>(block[i % 16]);
    uint32_t q = (i < 16 ? byte & 0xF : byte >> 4) | (layout.fifth ? (fifth >> i & 1) << 4 : 0);
    float scaled = static_cast<float>(static_cast<int32_t>(q) - middle) * d;
    out[i] = layout.offset ? scaled + m : scaled;
  }
}

void unpack_q8(const std::byte* block, float* out) {
  float d = half_to_float(load<uint16_t>(block));
  for (int i = 0; i < kGgufBlock; ++i) out[i] = static_cast<float>(load<int8_t>(block + 2 + i)) * d;
}

void unpack_block(GgufTensorType type, const std::byte* block, float* out) {
  switch (type) {
    case GgufTensorType::q4_0: return unpack_nibbles(block, {.offset = false, .fifth = false}, out);
    case GgufTensorType::q4_1: return unpack_nibbles(block, {.offset = true, .fifth = false}, out);
    case GgufTensorType::q5_0: return unpack_nibbles(block, {.offset = false, .fifth = true}, out);
    case GgufTensorType::q5_1: return unpack_nibbles(block, {.offset = true, .fifth = true}, out);
    default: return unpack_q8(block, out);
  }
}

bool finite_half(float x) { return (float_to_half(x) & 0x7C00u) != 0x7C00u; }

// Scale: the largest magnitude over 127; halves round away from zero.
bool pack_q8(const float* row, std::byte* block) {
  float largest = 0;
  for (int i = 0; i < kGgufBlock; ++i) largest = std::max(largest, std::fabs(row[i]));
  float d = largest / 127, inverse = d != 0 ? 1 / d : 0;
  if (!finite_half(d) || !std::isfinite(inverse)) inverse = 0;
  store(block, float_to_half(d));
  for (int i = 0; i < kGgufBlock; ++i) {
    store(block + 2 + i, static_cast<int8_t>(std::clamp(std::round(row[i] * inverse), -127.0f, 127.0f)));
  }
  return finite_half(d);
}

// Scale: the number of the largest magnitude, the first of them, becomes -8.
bool pack_q4(const float* row, std::byte* block) {
  float extreme = 0;
  for (int i = 0; i < kGgufBlock; ++i) {
    if (std::fabs(row[i]) > std::fabs(extreme)) extreme = row[i];
  }
  float d = extreme / -8, inverse = d != 0 ? 1 / d : 0;
  if (!finite_half(d) || !std::isfinite(inverse)) inverse = 0;
  store(block, float_to_half(d));
  auto number = [&](int i) {
    float scaled = row[i] * inverse;  // rounded before 8.5 is added, as in the reference: not to be contracted
    return static_cast<uint8_t>(std::clamp(scaled + 8.5f, 0.0f, 15.0f));
  };
  for (int i = 0; i < 16; ++i) store(block + 2 + i, static_cast<uint8_t>(number(i) | number(i + 16) << 4));
  return finite_half(d);
}

}  // namespace

std::string gguf_type_text(uint32_t type) {
  for (const TypeName& t : kNames) {
    if (t.type == type) return t.name;
  }
  return fmt::format("type {}", type);
}

const char* gguf_type_name(GgufTensorType type) {
  for (const TypeName& t : kNames) {
    if (t.type == static_cast<uint32_t>(type)) return t.name;
  }
  return "?";
}

bool is_readable(uint32_t type) {
  switch (static_cast<GgufTensorType>(type)) {
    case GgufTensorType::f32:
    case GgufTensorType::float16:
    case GgufTensorType::q4_0:
    case GgufTensorType::q4_1:
    case GgufTensorType::q5_0:
    case GgufTensorType::q5_1:
    case GgufTensorType::q8_0:
    case GgufTensorType::i8:
    case GgufTensorType::i16:
    case GgufTensorType::i32:
    case GgufTensorType::i64:
    case GgufTensorType::f64:
    case GgufTensorType::bfloat16: return true;
  }
  return false;
}

bool is_quantized(GgufTensorType type) {
  switch (type) {
    case GgufTensorType::q4_0:
    case GgufTensorType::q4_1:
    case GgufTensorType::q5_0:
    case GgufTensorType::q5_1:
    case GgufTensorType::q8_0: return true;
    default: return false;
  }
}

int64_t gguf_bytes(GgufTensorType type, int64_t elements) {
  switch (type) {
    case GgufTensorType::f32:
    case GgufTensorType::i32: return elements * 4;
    case GgufTensorType::float16:
    case GgufTensorType::bfloat16:
    case GgufTensorType::i16: return elements * 2;
    case GgufTensorType::i8: return elements;
    case GgufTensorType::i64:
    case GgufTensorType::f64: return elements * 8;
    case GgufTensorType::q4_0: return elements / kGgufBlock * 18;
    case GgufTensorType::q4_1: return elements / kGgufBlock * 20;
    case GgufTensorType::q5_0: return elements / kGgufBlock * 22;
    case GgufTensorType::q5_1: return elements / kGgufBlock * 24;
    case GgufTensorType::q8_0: return elements / kGgufBlock * 34;
  }
  return 0;
}

DType gguf_read_as(GgufTensorType type) {
  switch (type) {
    case GgufTensorType::i8:
    case GgufTensorType::i16:
    case GgufTensorType::i32: return DType::i32;
    case GgufTensorType::i64: return DType::i64;
    case GgufTensorType::f64: return DType::f64;
    case GgufTensorType::bfloat16: return DType::bf16;
    default: return DType::f32;
  }
}

bool gguf_is_converted(GgufTensorType type) {
  return is_quantized(type) || type == GgufTensorType::float16 || type == GgufTensorType::i8 ||
         type == GgufTensorType::i16;
}

void gguf_unpack(GgufTensorType type, const std::byte* from, int64_t elements, std::byte* to) {
  if (is_quantized(type)) {
    int64_t block_bytes = gguf_bytes(type, kGgufBlock);
    std::array<float, kGgufBlock> block;
    for (int64_t i = 0; i < elements; i += kGgufBlock) {
      unpack_block(type, from + i / kGgufBlock * block_bytes, block.data());
      std::memcpy(to + i * 4, block.data(), sizeof block);
    }
    return;
  }
  if (type == GgufTensorType::float16) {
    for (int64_t i = 0; i < elements; ++i) store(to + i * 4, half_to_float(load<uint16_t>(from + i * 2)));
  } else if (type == GgufTensorType::i16) {
    for (int64_t i = 0; i < elements; ++i) store(to + i * 4, int32_t{load<int16_t>(from + i * 2)});
  } else {
    for (int64_t i = 0; i < elements; ++i) store(to + i * 4, int32_t{load<int8_t>(from + i)});
  }
}

bool gguf_can_pack(GgufTensorType type) {
  return type == GgufTensorType::f32 || type == GgufTensorType::float16 || type == GgufTensorType::bfloat16 ||
         type == GgufTensorType::q8_0 || type == GgufTensorType::q4_0;
}

bool gguf_pack(GgufTensorType type, std::span<const float> row, std::byte* to) {
  if (is_quantized(type)) {
    if (!std::all_of(row.begin(), row.end(), [](float x) { return std::isfinite(x); })) return false;
    bool fits = true;
    for (size_t i = 0; i < row.size(); i += kGgufBlock) {
      std::byte* block = to + gguf_bytes(type, static_cast<int64_t>(i));
      fits &= type == GgufTensorType::q8_0 ? pack_q8(row.data() + i, block) : pack_q4(row.data() + i, block);
    }
    return fits;
  }
  for (size_t i = 0; i < row.size(); ++i) {
    switch (type) {
      case GgufTensorType::float16: store(to + i * 2, float_to_half(row[i])); break;
      case GgufTensorType::bfloat16: store(to + i * 2, float_to_bf16(row[i])); break;
      default: store(to + i * 4, row[i]); break;
    }
  }
  return true;
}

}  // namespace tandem
