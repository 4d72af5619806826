// Weights of linear layers as inference reads them: in one of four formats, in panels of 32 outputs that a product
// streams through from the first byte to the last.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "kernels/context.h"
#include "tensor/arena.h"

namespace tandem::kernels {

// Bits per weight, besides the padding of outputs to panels and of inputs to groups:
enum class WeightFormat {
  f32,   // 32
  bf16,  // 16
  int8,  // 8; one f32 scale per output
  int4,  // 4.5; one bf16 scale per output and 32 inputs
};

inline constexpr int64_t kPanelOutputs = 32;

std::string_view weight_format_name(WeightFormat format);

// Products with quantised weights round their activations, too: each run of this many inputs of a row to integers
// -127..127 times one scale. 0: the format has no such groups.
int64_t activation_group(WeightFormat format);

// A quantised weight as files hold it, output by output. A value is (step - zero) times its scale.
//   int8  steps u8 [N, K], zero 128; scales f32 [N]
//   int4  steps u8 [N, ceil(K / 2)], input 2 i in the low four bits, zero 8; scales bf16 [N, ceil(K / 32)]
struct StoredWeight {
  Tensor steps;
  Tensor scales;
};
Shape steps_shape(WeightFormat format, int64_t outputs, int64_t inputs);
Shape scales_shape(WeightFormat format, int64_t outputs, int64_t inputs);
DType scales_dtype(WeightFormat format);

// W [outputs, inputs]. Owns its memory; built by pack() or pack_steps().
class PackedWeight {
 public:
  PackedWeight() = default;

  bool defined() const { return outputs_ > 0; }
  int64_t outputs() const { return outputs_; }
  int64_t inputs() const { return inputs_; }
  WeightFormat format() const { return format_; }
  // What a product reads and what the weight takes of memory: panels with their padding, and scales.
  int64_t bytes() const;

  // The value that stands for w[output, input]; for references, tests and tools.
  double element(int64_t output, int64_t input) const;

  // For the dispatch.
  int64_t groups() const;       // along the inputs
  int64_t panels() const;       // along the outputs
  int64_t panel_bytes() const;  // panels lie one behind the other
  const char* panel(int64_t index) const;
  const float* panel_scales(int64_t index) const;  // of its outputs; null where the format has none

 private:
  friend PackedWeight pack(Context&, const Tensor&, WeightFormat);
  friend PackedWeight pack_steps(const StoredWeight&, WeightFormat, int64_t, const std::string&);
  friend void unpack_steps(const PackedWeight&, const StoredWeight&);
  PackedWeight(const Shape& shape, WeightFormat format);
  void pack_panel(const Tensor& w, int64_t index);
  // Where the word of a weight and the scale of its group stand.
  char* word_at(int64_t output, int64_t input) const;
  char* group_scale_at(int64_t output, int64_t input) const;

  WeightFormat format_ = WeightFormat::f32;
  int64_t outputs_ = 0, inputs_ = 0;
  Storage panels_;
  Storage scales_;  // f32 [panels, 32] (int8)
};

// w [N, K], f32 or bf16 (or a reference type). int8: the scale of an output is its largest magnitude / 127, and every
// weight is rounded to the nearest step. int4: steps -8..7 of a scale that is chosen among a few so that the sum of the
// group's squared errors is smallest. InputError where a weight to be quantised is not finite.
PackedWeight pack(Context& ctx, const Tensor& w, WeightFormat format);

// To and from what a file holds, without a change of a bit. Quantised formats only. pack_steps: InputError naming
// `where` for a scale that is not finite and for an int8 step of -128, which pack() never makes.
PackedWeight pack_steps(const StoredWeight& stored, WeightFormat format, int64_t inputs, const std::string& where);
void unpack_steps(const PackedWeight& weight, const StoredWeight& to);

}  // namespace tandem::kernels
