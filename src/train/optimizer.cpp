#include "train/optimizer.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "kernels/adamw.h"

namespace tandem {

void list_fields(FieldList& fields, OptimizerConfig& config) {
  fields.add("lr", config.lr, "base learning rate; matrices have it times mup_base_dim / dim");
  fields.add("weight_decay", config.weight_decay, "decoupled decay of embeddings and matrices");
  fields.add("beta1", config.beta1, "decay of the first moment");
  fields.add("beta2", config.beta2, "decay of the second moment");
  fields.add("eps", config.eps, "added to the root of the second moment");
  fields.add("clip", config.clip, "largest L2 norm of the whole gradient; 0: not clipped");
  fields.add_enum<OptimizerState>("state", config.state,
                                  {{"float32", OptimizerState::float32},
                                   {"bf16", OptimizerState::bfloat16},
                                   {"8bit", OptimizerState::bits8},
                                   {"bfloat16", OptimizerState::bfloat16}},
                                  "what both moments are stored in, stochastically rounded below float32");
}

std::string_view state_name(OptimizerState state) {
  switch (state) {
    case OptimizerState::float32: return "float32";
    case OptimizerState::bfloat16: return "bf16";
    case OptimizerState::bits8: return "8bit";
  }
  return "?";
}

void check(const OptimizerConfig& config, const std::string& where) {
  auto require = [&](bool holds, const char* key, double got, const char* expected) {
    if (holds) return;
    throw InputError({.what = fmt::format("bad value of 'optimizer.{}'", key),
                      .where = where,
                      .got = fmt::format("{}", got),
                      .expected = expected});
  };
  require(config.lr >= 0, "lr", config.lr, "0 or more");
  require(config.weight_decay >= 0, "weight_decay", config.weight_decay, "0 or more");
  require(config.beta1 >= 0 && config.beta1 < 1, "beta1", config.beta1, "0 or more and below 1");
  require(config.beta2 >= 0 && config.beta2 < 1, "beta2", config.beta2, "0 or more and below 1");
  require(config.eps > 0, "eps", config.eps, "more than 0");
  require(config.clip >= 0, "clip", config.clip, "0 (no clipping) or more");
}

DType state_dtype(OptimizerState state) {
  switch (state) {
    case OptimizerState::float32: return DType::f32;
    case OptimizerState::bfloat16: return DType::bf16;
    case OptimizerState::bits8: return DType::u8;
  }
  return DType::f32;
}

Moments::Moments(OptimizerState state, const Shape& shape, const ElementRange& elements) : range(elements) {
  if (range.size() == 0) return;
  Shape own = range.size() == shape.elements() ? shape : Shape{range.size()};
  first = Storage(state_dtype(state), own);
  second = Storage(state_dtype(state), own);
  if (state != OptimizerState::bits8) return;
  first_scale = Storage(DType::f32, {kernels::state_blocks(range.size())});
  second_scale = Storage(DType::f32, {kernels::state_blocks(range.size())});
}

int64_t moment_bytes(OptimizerState state, int64_t elements) {
  int64_t scales = state == OptimizerState::bits8 ? kernels::state_blocks(elements) * dtype_bytes(DType::f32) : 0;
  return 2 * (elements * dtype_bytes(state_dtype(state)) + scales);
}

Optimizer::Optimizer(Context& ctx, ParameterStore& parameters, const OptimizerConfig& config, double matrix_rate_factor,
                     const std::vector<ElementRange>& owned)
    : ctx_(ctx), parameters_(parameters), config_(config), matrix_rate_factor_(matrix_rate_factor) {
  for (const Parameter& p : parameters.all()) {
    if (!p.grad().defined()) throw LogicError({.what = "optimizer over a parameter without gradient", .got = p.name()});
    ElementRange all{0, p.shape().elements()};
    moments_.emplace_back(config.state, p.shape(), owned.empty() ? all : owned.at(moments_.size()));
  }
}

double Optimizer::rate(MupGroup group, double factor) const {
  double base = config_.lr * factor;
  return group == MupGroup::matrix ? base * matrix_rate_factor_ : base;
}

double Optimizer::gradient_norm(double scale) const {
  double squares = 0;
  for (const Parameter& p : parameters_.all()) squares += kernels::sum_of_squares(ctx_, p.grad());
  return std::sqrt(squares) * scale;
}

void Optimizer::update(double scale, double norm, double factor) {
  double clip = config_.clip > 0 ? std::min(1.0, config_.clip / (norm + 1e-6)) : 1.0;
  ++updates_;
  uint64_t index = 0;
  for (Parameter& p : parameters_.all()) {
    kernels::AdamWStep step{.learning_rate = rate(p.group(), factor),
                            .beta1 = config_.beta1,
                            .beta2 = config_.beta2,
                            .eps = config_.eps,
                            .weight_decay = p.decays() ? config_.weight_decay : 0,
                            .gradient_scale = scale * clip,
                            .step = updates_};
    const Moments& m = moments_[index];
    kernels::StateRounding rounding{.stream = index++, .first_element = m.range.begin};
    if (m.range.size() == 0) continue;
    // All of it keeps its shape.
    auto own = [&](const Tensor& t) { return m.range.size() == t.elements() ? t : elements_of(t, m.range); };
    Tensor compute = p.has_own_compute() ? own(p.compute()) : Tensor();
    kernels::adamw(ctx_, own(p.master()), own(p.grad()), m.tensors(), compute, step, rounding);
  }
}

void Optimizer::reset() {
  for (const Moments& m : moments_) {
    for (const Tensor& t : {m.first.tensor(), m.second.tensor(), m.first_scale.tensor(), m.second_scale.tensor()}) {
      if (t.defined()) std::memset(t.data, 0, static_cast<size_t>(t.bytes()));
    }
  }
  updates_ = 0;
}

}  // namespace tandem
