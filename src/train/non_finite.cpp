#include "train/non_finite.h"

#include <cmath>

#include "kernels/adamw.h"

namespace tandem {
namespace {

bool is_finite(const Tensor& t) {
  for (int64_t r = 0; r < t.rows(); ++r) {
    for (int64_t c = 0; c < t.row_size(); ++c) {
      if (!std::isfinite(load_element(t, r, c))) return false;
    }
  }
  return true;
}

// Gradients that are zero or sums of what flowed back so far. Squares of float32 can't overflow the double sum.
const Parameter* broken_gradient(Context& ctx, const ParameterStore& parameters) {
  for (const Parameter& p : parameters.all()) {
    if (!std::isfinite(kernels::sum_of_squares(ctx, p.grad()))) return &p;
  }
  return nullptr;
}

class Search {
 public:
  Search(Model& model, Tape& tape) : model_(model), tape_(tape) {}

  void parameters() {
    for (const Parameter& p : model_.parameters().all()) {
      if (!is_finite(p.master())) return found(p.name());
    }
  }

  void pass(const Batch& batch) {
    tape_.reset();
    model_.observe([this](const std::string& name, const Tensor& value) {
      if (name_.empty() && !is_finite(value)) found(name + " activation");
    });
    ops::LossSum loss = model_.loss(tape_, batch);
    model_.observe({});
    if (name_.empty() && !std::isfinite(loss.sum)) found("loss");
    if (!name_.empty()) return;
    gradients();  // the head's, which come with the loss
    if (name_.empty()) tape_.backward([this] { gradients(); });
  }

  const std::string& name() const { return name_; }

 private:
  void found(const std::string& name) { name_ = name; }

  void gradients() {
    if (!name_.empty()) return;
    const Parameter* p = broken_gradient(tape_.context(), model_.parameters());
    if (p) found(p->name() + " gradient");
  }

  Model& model_;
  Tape& tape_;
  std::string name_;
};

}  // namespace

std::string first_non_finite(Model& model, Tape& tape, std::span<const Batch> batches) {
  Search search(model, tape);
  search.parameters();
  model.parameters().zero_gradients();
  for (const Batch& batch : batches) {
    if (!search.name().empty()) break;
    search.pass(batch);
  }
  tape.reset();
  return search.name();
}

}  // namespace tandem
