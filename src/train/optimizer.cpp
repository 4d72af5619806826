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

namespace {

Moments new_moments(const Shape& shape, const ElementRange& range) {
  if (range.size() == 0) return {.range = range};
  Shape own = range.size() == shape.elements() ? shape : Shape{range.size()};
  return {range, Storage(DType::f32, own), Storage(DType::f32, own)};
}

}  // namespace

Optimizer::Optimizer(Context& ctx, ParameterStore& parameters, const OptimizerConfig& config, double matrix_rate_factor,
                     const std::vector<ElementRange>& owned)
    : ctx_(ctx), parameters_(parameters), config_(config), matrix_rate_factor_(matrix_rate_factor) {
  for (const Parameter& p : parameters.all()) {
    if (!p.grad().defined()) throw LogicError({.what = "optimizer over a parameter without gradient", .got = p.name()});
    ElementRange all{0, p.shape().elements()};
    moments_.push_back(new_moments(p.shape(), owned.empty() ? all : owned.at(moments_.size())));
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
  size_t index = 0;
  for (Parameter& p : parameters_.all()) {
    kernels::AdamWStep step{.learning_rate = rate(p.group(), factor),
                            .beta1 = config_.beta1,
                            .beta2 = config_.beta2,
                            .eps = config_.eps,
                            .weight_decay = p.decays() ? config_.weight_decay : 0,
                            .gradient_scale = scale * clip,
                            .step = updates_};
    const Moments& m = moments_[index++];
    if (m.range.size() == 0) continue;
    // All of it keeps its shape.
    auto own = [&](const Tensor& t) { return m.range.size() == t.elements() ? t : elements_of(t, m.range); };
    Tensor compute = p.has_own_compute() ? own(p.compute()) : Tensor();
    kernels::adamw(ctx_, own(p.master()), own(p.grad()), m.first.tensor(), m.second.tensor(), compute, step);
  }
}

void Optimizer::reset() {
  for (const Moments& m : moments_) {
    for (const Tensor& t : {m.first.tensor(), m.second.tensor()}) {
      if (t.defined()) std::memset(t.data, 0, static_cast<size_t>(t.bytes()));
    }
  }
  updates_ = 0;
}

}  // namespace tandem
