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
static_assert(kPanelOutputs == kPanelWidth);

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
    if (inverse == 0 || !std::isfinite(inverse)) scale = inverse = 0;  // no negative zero either
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

char* PackedWeight::word_at(int64_t output, int64_t input) const {
  const Layout l = layout(format_);
  const char* group = panel(output / kPanelWidth) + input / l.group * l.group_bytes() + kPanelWidth * l.scale_bytes;
  int64_t word = input % l.group / l.per_word;
  return const_cast<char*>(group) + (word * kPanelWidth + output % kPanelWidth) * kWordBytes;
}

char* PackedWeight::group_scale_at(int64_t output, int64_t input) const {
  const Layout l = layout(format_);
  const char* group = panel(output / kPanelWidth) + input / l.group * l.group_bytes();
  return const_cast<char*>(group) + output % kPanelWidth * l.scale_bytes;
}

namespace {

uint32_t read_word(const char* at) {
  uint32_t word;
  std::memcpy(&word, at, sizeof word);
  return word;
}

// Bits of a word by which the step of an input is shifted.
int step_shift(WeightFormat format, int64_t input) {
  auto i = static_cast<int>(input % 8);
  return format == WeightFormat::int8 ? i % 4 * 8 : i % 4 * 8 + (i < 4 ? 0 : 4);
}

}  // namespace

double PackedWeight::element(int64_t output, int64_t input) const {
  uint32_t word = read_word(word_at(output, input));
  int shift = step_shift(format_, input);
  switch (format_) {
    case WeightFormat::f32: return std::bit_cast<float>(word);
    case WeightFormat::bf16: return bf16_to_float(static_cast<bf16>(word >> input % 2 * 16));
    case WeightFormat::int8: {
      int step = static_cast<int>(word >> shift & 0xFF) - cpu::kOffsetInt8;
      return static_cast<double>(panel_scales(output / kPanelWidth)[output % kPanelWidth]) * step;
    }
    case WeightFormat::int4: {
      bf16 scale;
      std::memcpy(&scale, group_scale_at(output, input), sizeof scale);
      return static_cast<double>(bf16_to_float(scale)) * (static_cast<int>(word >> shift & 0xF) - cpu::kOffsetInt4);
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

Shape steps_shape(WeightFormat format, int64_t outputs, int64_t inputs) {
  return {outputs, format == WeightFormat::int4 ? pieces(inputs, 2) : inputs};
}

Shape scales_shape(WeightFormat format, int64_t outputs, int64_t inputs) {
  if (format == WeightFormat::int4) return {outputs, pieces(inputs, cpu::kGroupInt4)};
  return {outputs};
}

DType scales_dtype(WeightFormat format) { return format == WeightFormat::int4 ? DType::bf16 : DType::f32; }

namespace {

// The step of an input in a row of a file.
uint32_t stored_step(const uint8_t* row, WeightFormat format, int64_t k) {
  return format == WeightFormat::int8 ? row[k] : row[k / 2] >> k % 2 * 4 & 0xF;
}

void check_stored(const StoredWeight& stored, WeightFormat format, int64_t inputs, const std::string& where) {
  const int64_t outputs = stored.steps.rows();
  if (format < WeightFormat::int8 || !(stored.steps.shape == steps_shape(format, outputs, inputs)) ||
      !(stored.scales.shape == scales_shape(format, outputs, inputs)) || stored.steps.dtype != DType::u8 ||
      stored.scales.dtype != scales_dtype(format)) {
    throw LogicError({.what = "stored weight of wrong shape or type", .where = where});
  }
  for (int64_t n = 0; n < outputs; ++n) {
    for (int64_t i = 0; i < stored.scales.row_size(); ++i) {
      if (std::isfinite(load_element(stored.scales, n, i))) continue;
      throw InputError({.what = "scale of a quantised weight is not a finite number",
                        .where = where,
                        .got = fmt::format("output {}", n)});
    }
    const uint8_t* row = stored.steps.row<uint8_t>(n);
    if (format == WeightFormat::int8 && std::find(row, row + inputs, 0) != row + inputs) {
      throw InputError({.what = "step of a quantised weight out of range",
                        .where = where,
                        .got = fmt::format("0 in output {}", n),
                        .expected = "1..255"});
    }
  }
}

}  // namespace

PackedWeight pack_steps(const StoredWeight& stored, WeightFormat format, int64_t inputs, const std::string& where) {
  check_stored(stored, format, inputs, where);
  const int64_t outputs = stored.steps.rows(), group = layout(format).group;
  PackedWeight packed({outputs, inputs}, format);
  // What pads outputs and inputs is the step that stands for zero.
  const uint32_t zero = format == WeightFormat::int8 ? cpu::kOffsetInt8 : cpu::kOffsetInt4;
  for (int64_t n = 0; n < packed.panels() * kPanelWidth; ++n) {
    const bool there = n < outputs;
    const uint8_t* row = there ? stored.steps.row<uint8_t>(n) : nullptr;
    for (int64_t k = 0; k < packed.groups() * group; ++k) {
      char* at = packed.word_at(n, k);
      uint32_t step = there && k < inputs ? stored_step(row, format, k) : zero;
      uint32_t word = read_word(at) | step << step_shift(format, k);
      std::memcpy(at, &word, sizeof word);
    }
    if (!there) continue;
    if (format == WeightFormat::int8) packed.scales_.tensor().as<float>()[n] = stored.scales.as<float>()[n];
    for (int64_t k = 0; format == WeightFormat::int4 && k < inputs; k += group) {
      std::memcpy(packed.group_scale_at(n, k), stored.scales.row<bf16>(n) + k / group, sizeof(bf16));
    }
  }
  return packed;
}

void unpack_steps(const PackedWeight& weight, const StoredWeight& to) {
  const WeightFormat format = weight.format();
  const int64_t group = layout(format).group;
  for (int64_t n = 0; n < weight.outputs(); ++n) {
    uint8_t* row = to.steps.row<uint8_t>(n);
    std::fill_n(row, to.steps.row_size(), uint8_t{0});
    for (int64_t k = 0; k < weight.inputs(); ++k) {
      uint32_t step = read_word(weight.word_at(n, k)) >> step_shift(format, k);
      if (format == WeightFormat::int8) {
        row[k] = static_cast<uint8_t>(step);
      } else {
        row[k / 2] = static_cast<uint8_t>(row[k / 2] | (step & 0xF) << k % 2 * 4);
      }
    }
    if (format == WeightFormat::int8) to.scales.as<float>()[n] = weight.scales_.tensor().as<float>()[n];
    for (int64_t k = 0; format == WeightFormat::int4 && k < weight.inputs(); k += group) {
      std::memcpy(to.scales.row<bf16>(n) + k / group, weight.group_scale_at(n, k), sizeof(bf16));
    }
  }
}

}  // namespace tandem::kernels
