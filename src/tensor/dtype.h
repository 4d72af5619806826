// Element types.
#pragma once

#include <bit>
#include <cstdint>
#include <string_view>

namespace tandem {

// f64 and bf16_in_f64 exist for the reference kernels only: the same model code, run in double precision, is the
// yardstick for the fast paths. bf16_in_f64 holds doubles that are rounded to bfloat16 whenever one is stored, so a
// reference run rounds exactly where a bf16 run does and nowhere else. f16 (IEEE 754 binary16) is only read from files
// and written to them.
enum class DType : uint8_t { f32, bf16, f64, bf16_in_f64, i32, i64, u8, f16 };

constexpr int64_t dtype_bytes(DType t) {
  switch (t) {
    case DType::f32:
    case DType::i32: return 4;
    case DType::bf16:
    case DType::f16: return 2;
    case DType::f64:
    case DType::bf16_in_f64:
    case DType::i64: return 8;
    case DType::u8: return 1;
  }
  return 0;
}

constexpr std::string_view dtype_name(DType t) {
  switch (t) {
    case DType::f32: return "float32";
    case DType::bf16: return "bf16";
    case DType::f64: return "float64";
    case DType::bf16_in_f64: return "bf16 in float64";
    case DType::i32: return "int32";
    case DType::i64: return "int64";
    case DType::u8: return "uint8";
    case DType::f16: return "float16";
  }
  return "?";
}

constexpr bool is_reference(DType t) { return t == DType::f64 || t == DType::bf16_in_f64; }

// bfloat16 as its 16 bits.
using bf16 = uint16_t;

inline float bf16_to_float(bf16 x) { return std::bit_cast<float>(static_cast<uint32_t>(x) << 16); }

// Round to nearest, ties to even; NaN stays NaN.
inline bf16 float_to_bf16(float x) {
  uint32_t bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return static_cast<bf16>((bits >> 16) | 0x40u);
  return static_cast<bf16>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

// The bfloat16 nearest to a double. The double is first rounded to float32, as the fast kernels do.
inline double round_to_bf16(double x) { return bf16_to_float(float_to_bf16(static_cast<float>(x))); }

}  // namespace tandem
