#include "kernels/packed_weight.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <span>

#include "base/error.h"
#include "kernels/cpu/packed_matmul.h"

namespace tandem::kernels {
namespace {

using cpu::kPanelWidth;
using cpu::kWordBytes;

struct Layout {
  int64_t group;        // inputs
  int64_t per_word;     // inputs
  int64_t scale_bytes;  // of an output, at the start of each group
  int64_t words() const { return group / per_word; }
  int64_t group_bytes() const { return kPanelWidth * (words() * kWordBytes + scale_bytes); }
};

Layout layout(WeightFormat format) {
  switch (format) {
    case WeightFormat::f32: return {cpu::kGroupF32, 1, 0};
    case WeightFormat::bf16: return {cpu::kGroupBf16, 2, 0};
    case WeightFormat::int8: return {cpu::kGroupInt8, 4, 0};
    case WeightFormat::int4: return {cpu::kGroupInt4, 8, sizeof(bf16)};
  }
  return {};
}

int64_t pieces(int64_t n, int64_t size) { return (n + size - 1) / size; }

[[noreturn]] void not_finite(int64_t output, int64_t input) {
  throw InputError({.what = "a weight to be quantised is not a finite number",
                    .where = fmt::format("output {}, input {}", output, input)});
}

int quantise(float value, float inverse, int low, int high) {
  return std::clamp(static_cast<int>(std::lrint(value * inverse)), low, high);
}

struct Int4Scale {
  float scale = 0, inverse = 0;
  explicit Int4Scale(float wanted) : scale(bf16_to_float(float_to_bf16(wanted))) {
    inverse = scale == 0 ? 0 : 1 / scale;
    if (!std::isfinite(inverse)) scale = inverse = 0;
  }
  int step(float value) const { return quantise(value, inverse, -cpu::kOffsetInt4, cpu::kOffsetInt4 - 1); }
  double squared_error(std::span<const float> values) const {
    double sum = 0;
    for (float value : values) {
      double error = value - static_cast<double>(scale) * step(value);
      sum += error * error;
    }
    return sum;
  }
};

// There are eight steps on one side of zero and seven on the other, so the scale has a sign: the value of largest
// magnitude gets the longer side. Steps that are a little finer and clip it, or coarser, often fit the others better.
Int4Scale best_scale(std::span<const float> values) {
  float top =
      *std::max_element(values.begin(), values.end(), [](float a, float b) { return std::abs(a) < std::abs(b); });
  Int4Scale best(top / -8);
  double least = best.squared_error(values);
  for (float steps : {6.5f, 7.0f, 7.4f, 7.7f, 8.4f, 8.8f, 9.3f, -7.0f, -7.5f, -8.0f}) {
    Int4Scale other(top / -steps);
    double error = other.squared_error(values);
    if (error < least) {
      least = error;
      best = other;
    }
  }
  return best;
}

// The words of one output in one group; `values` are padded with zeros to the whole group.
void pack_group(std::span<const float> values, WeightFormat format, float scale, uint32_t* words, bf16* group_scale) {
  switch (format) {
    case WeightFormat::f32:
      for (size_t k = 0; k < values.size(); ++k) words[k] = std::bit_cast<uint32_t>(values[k]);
      return;
    case WeightFormat::bf16:
      for (size_t k = 0; k < values.size(); ++k) {
        words[k / 2] |= static_cast<uint32_t>(float_to_bf16(values[k])) << k % 2 * 16;
      }
      return;
    case WeightFormat::int8: {
      float inverse = scale > 0 ? 1 / scale : 0;
      for (size_t k = 0; k < values.size(); ++k) {
        int step = quantise(values[k], inverse, -127, 127) + cpu::kOffsetInt8;
        words[k / 4] |= static_cast<uint32_t>(step) << k % 4 * 8;
      }
      return;
    }
    case WeightFormat::int4: {
      Int4Scale chosen = best_scale(values);
      *group_scale = float_to_bf16(chosen.scale);
      for (size_t k = 0; k < values.size(); ++k) {
        auto step = static_cast<uint32_t>(chosen.step(values[k]) + cpu::kOffsetInt4);
        words[k / 8] |= step << (k % 4 * 8 + (k % 8 < 4 ? 0 : 4));
      }
      return;
    }
  }
}

}  // namespace

std::string_view weight_format_name(WeightFormat format) {
  switch (format) {
    case WeightFormat::f32: return "f32";
    case WeightFormat::bf16: return "bf16";
    case WeightFormat::int8: return "int8";
    case WeightFormat::int4: return "int4";
  }
  return "?";
}

int64_t activation_group(WeightFormat format) {
  if (format == WeightFormat::int8) return cpu::kGroupInt8;
  return format == WeightFormat::int4 ? cpu::kGroupInt4 : 0;
}

PackedWeight::PackedWeight(const Shape& shape, WeightFormat format)
    : format_(format), outputs_(shape[0]), inputs_(shape[1]) {
  panels_ = Storage(DType::u8, {panels() * panel_bytes()});
  if (format == WeightFormat::int8) scales_ = Storage(DType::f32, {panels() * kPanelWidth});
}

int64_t PackedWeight::groups() const { return pieces(inputs_, layout(format_).group); }
int64_t PackedWeight::panels() const { return pieces(outputs_, kPanelWidth); }
int64_t PackedWeight::panel_bytes() const { return groups() * layout(format_).group_bytes(); }
int64_t PackedWeight::bytes() const {
  auto owned = [](const Storage& s) { return s.tensor().defined() ? s.tensor().bytes() : 0; };
  return owned(panels_) + owned(scales_);
}
const char* PackedWeight::panel(int64_t index) const {
  return static_cast<const char*>(panels_.tensor().data) + index * panel_bytes();
}
const float* PackedWeight::panel_scales(int64_t index) const {
  return scales_.tensor().defined() ? scales_.tensor().as<float>() + index * kPanelWidth : nullptr;
}

void PackedWeight::pack_panel(const Tensor& w, int64_t index) {
  const Layout l = layout(format_);
  char* to = const_cast<char*>(panel(index));
  float values[cpu::kGroupInt8];
  uint32_t words[cpu::kGroupInt8];
  for (int64_t c = 0; c < kPanelWidth; ++c) {
    int64_t n = index * kPanelWidth + c;
    float scale = 0;
    if (n < outputs_ && format_ >= WeightFormat::int8) {
      for (int64_t k = 0; k < inputs_; ++k) {
        auto value = static_cast<float>(load_element(w, n, k));
        if (!std::isfinite(value)) not_finite(n, k);
        scale = std::max(scale, std::abs(value) / 127);
      }
    }
    if (format_ == WeightFormat::int8) scales_.tensor().as<float>()[n] = scale;
    for (int64_t group = 0; group < groups(); ++group) {
      for (int64_t i = 0; i < l.group; ++i) {
        int64_t k = group * l.group + i;
        values[i] = n < outputs_ && k < inputs_ ? static_cast<float>(load_element(w, n, k)) : 0.0f;
      }
      std::fill(words, words + l.words(), 0u);
      char* start = to + group * l.group_bytes();
      bf16 group_scale = 0;
      pack_group({values, static_cast<size_t>(l.group)}, format_, scale, words, &group_scale);
      if (l.scale_bytes) std::memcpy(start + c * l.scale_bytes, &group_scale, sizeof group_scale);
      start += kPanelWidth * l.scale_bytes;
      for (int64_t i = 0; i < l.words(); ++i) {
        std::memcpy(start + (i * kPanelWidth + c) * kWordBytes, &words[i], kWordBytes);
      }
    }
  }
}

double PackedWeight::element(int64_t output, int64_t input) const {
  const Layout l = layout(format_);
  int64_t c = output % kPanelWidth, i = input % l.group;
  const char* start = panel(output / kPanelWidth) + input / l.group * l.group_bytes();
  bf16 scale = 0;
  if (l.scale_bytes) std::memcpy(&scale, start + c * l.scale_bytes, sizeof scale);
  uint32_t word = 0;
  std::memcpy(&word, start + kPanelWidth * l.scale_bytes + (i / l.per_word * kPanelWidth + c) * kWordBytes, kWordBytes);
  switch (format_) {
    case WeightFormat::f32: return std::bit_cast<float>(word);
    case WeightFormat::bf16: return bf16_to_float(static_cast<bf16>(word >> i % 2 * 16));
    case WeightFormat::int8: {
      int step = static_cast<int>(word >> i % 4 * 8 & 0xFF) - cpu::kOffsetInt8;
      return static_cast<double>(panel_scales(output / kPanelWidth)[c]) * step;
    }
    case WeightFormat::int4: {
      int step = static_cast<int>(word >> (i % 4 * 8 + (i % 8 < 4 ? 0 : 4)) & 0xF) - cpu::kOffsetInt4;
      return static_cast<double>(bf16_to_float(scale)) * step;
    }
  }
  return 0;
}

PackedWeight pack(Context& ctx, const Tensor& w, WeightFormat format) {
  if (w.shape.rank() != 2 || w.rows() < 1 || w.row_size() < 1) {
    throw LogicError({.what = "pack needs a matrix", .got = w.shape.text(), .expected = "[outputs, inputs]"});
  }
  PackedWeight packed(w.shape, format);
  ctx.pool().run(packed.panels(), [&](int64_t index, int) { packed.pack_panel(w, index); });
  return packed;
}

}  // namespace tandem::kernels
