#include "kernels/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "kernels/chunks.h"
#include "kernels/cpu/kernels.h"
#include "kernels/operand.h"
#include "kernels/ref/rope.h"

namespace tandem::kernels {

namespace {

// In float32, in the order of transformers' rope utilities, so that the angles agree with theirs.
float scaled_frequency(float frequency, const RopeScaling& scaling) {
  const auto factor = static_cast<float>(scaling.factor);
  switch (scaling.kind) {
    case RopeScaling::Kind::none: return frequency;
    case RopeScaling::Kind::linear: return frequency / factor;
    case RopeScaling::Kind::llama3: break;
  }
  const auto length = static_cast<float>(scaling.original_length);
  const auto low = static_cast<float>(scaling.low_turns), high = static_cast<float>(scaling.high_turns);
  const float wave = 2 * std::numbers::pi_v<float> / frequency;
  if (wave > length / low) return frequency / factor;
  if (wave < length / high) return frequency;
  const float kept = (length / wave - low) / (high - low);
  return (1 - kept) * frequency / factor + kept * frequency;
}

}  // namespace

void rope_table(const Tensor& cos, const Tensor& sin, double base, RopeFrequencies frequencies,
                const RopeScaling& scaling) {
  int64_t half = cos.row_size();
  int64_t steps = frequencies == RopeFrequencies::half_open ? half : std::max<int64_t>(1, half - 1);
  for (int64_t i = 0; i < half; ++i) {
    float exponent = static_cast<float>(i) / static_cast<float>(steps);
    float plain = 1.0f / static_cast<float>(std::pow(base, static_cast<double>(exponent)));
    float frequency = scaled_frequency(plain, scaling);
    for (int64_t position = 0; position < cos.rows(); ++position) {
      float angle = static_cast<float>(position) * frequency;
      store_element(cos, position, i, std::cos(static_cast<double>(angle)));
      store_element(sin, position, i, std::sin(static_cast<double>(angle)));
    }
  }
}

void rope_apply(Context& ctx, const Tensor& x, std::span<const int32_t> positions, const Tensor& cos, const Tensor& sin,
                RopePairs pairs, bool inverse) {
  ProfileScope scope(ctx.profiler(), "rope", 3.0 * static_cast<double>(x.elements()), bytes_of(x, x));
  if (is_reference(x.dtype)) return ref::rope_apply(x, positions, cos, sin, pairs, inverse);
  const cpu::RopeKernels& kernels = ctx.cpu().rope;
  auto kernel = pairs == RopePairs::adjacent ? kernels.adjacent : kernels.half_split;
  for_ranges(ctx, x.rows(), chunk_rows(x.row_size()), [&](Range rows) {
    kernel(matrix(x, rows.begin), positions.data() + rows.begin, cos.as<float>(), cos.row_stride, sin.as<float>(),
           sin.row_stride, rows.size(), x.shape[1], x.shape[2], 2 * cos.row_size(), inverse);
  });
}

}  // namespace tandem::kernels
