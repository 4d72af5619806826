#include "nn/parameters.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/rng.h"

namespace tandem {
namespace {

// Streams of the counter-based generator that initialisation uses; other users of a seed stay below.
constexpr uint64_t kInitialStreams = uint64_t{1} << 32;

void fill_xavier_uniform(const Tensor& w, Rng& rng) {
  double bound = std::sqrt(2.0) * std::sqrt(6.0 / static_cast<double>(w.shape[0] + w.shape[1]));
  float* data = w.as<float>();
  for (int64_t i = 0; i < w.elements(); ++i) data[i] = static_cast<float>((2 * rng.uniform() - 1) * bound);
}

}  // namespace

Parameter& ParameterStore::add(std::string name, const Shape& shape, MupGroup group, Initial initial) {
  if (find(name)) throw LogicError({.what = "parameter registered twice", .got = name});
  return parameters_.emplace_back(std::move(name), shape, group, initial);
}

void ParameterStore::allocate(const Precision& precision, Gradients gradients) {
  precision_ = precision;
  for (Parameter& p : parameters_) {
    p.master_ = Storage(DType::f32, p.shape());
    bool own_copy = p.group() != MupGroup::vector && precision.activation != DType::f32;
    p.compute_ = own_copy ? Storage(precision.activation, p.shape()) : Storage();
    p.grad_ = gradients == Gradients::wanted ? Storage(precision.residual, p.shape()) : Storage();
  }
}

void ParameterStore::initialise(uint64_t seed) {
  uint64_t stream = kInitialStreams;
  for (Parameter& p : parameters_) {
    Rng rng(seed, stream++);
    float* data = p.master().as<float>();
    switch (p.initial()) {
      case Initial::xavier_uniform: fill_xavier_uniform(p.master(), rng); break;
      case Initial::zeros: std::fill_n(data, p.master().elements(), 0.0f); break;
      case Initial::ones: std::fill_n(data, p.master().elements(), 1.0f); break;
    }
  }
  refresh_compute();
}

void ParameterStore::refresh_compute() {
  for (Parameter& p : parameters_) {
    if (p.has_own_compute() && p.master().defined()) copy_convert(p.compute(), p.master());
  }
}

void ParameterStore::pack(Context& ctx, kernels::WeightFormat format) {
  if (is_reference(precision_.activation)) return;
  for (Parameter& p : parameters_) {
    if (p.grad().defined()) throw LogicError({.what = "pack: the parameters are trained", .where = p.name()});
    if (!packs(p) || p.packed_.defined()) continue;
    p.packed_ = kernels::pack(ctx, p.master(), format);
    p.compute_ = Storage();
    if (p.group() != MupGroup::embedding) p.master_ = Storage();
  }
}

void ParameterStore::adopt(Parameter& p, kernels::PackedWeight packed) {
  if (p.grad().defined()) throw LogicError({.what = "adopt: the parameters are trained", .where = p.name()});
  if (p.group() == MupGroup::embedding || is_reference(precision_.activation)) {
    const Tensor& master = p.master();
    for (int64_t n = 0; n < master.rows(); ++n) {
      for (int64_t k = 0; k < master.row_size(); ++k)
        master.row<float>(n)[k] = static_cast<float>(packed.element(n, k));
    }
  } else {
    p.master_ = Storage();
  }
  if (is_reference(precision_.activation)) return;
  p.compute_ = Storage();
  p.packed_ = std::move(packed);
}

void ParameterStore::zero_gradients() {
  for (Parameter& p : parameters_) {
    if (p.grad().defined()) std::memset(p.grad().data, 0, static_cast<size_t>(p.grad().bytes()));
  }
}

Parameter* ParameterStore::find(std::string_view name) {
  for (Parameter& p : parameters_) {
    if (p.name() == name) return &p;
  }
  return nullptr;
}

int64_t ParameterStore::elements() const {
  int64_t n = 0;
  for (const Parameter& p : parameters_) n += p.shape().elements();
  return n;
}

}  // namespace tandem
