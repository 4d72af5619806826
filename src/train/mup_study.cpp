#include "train/mup_study.h"

#include <cmath>
#include <map>
#include <memory>

#include "arch/model.h"
#include "base/error.h"
#include "train/step.h"
#include "train/widths.h"

namespace tandem {
namespace {

constexpr uint64_t kBoundaryStream = 0x3C5;
constexpr uint64_t kProbeStream = 0x3C6;

struct Activation {
  std::string name;
  std::vector<float> values;
};

std::vector<float> copied(const Tensor& t) {
  std::vector<float> values;
  values.reserve(static_cast<size_t>(t.elements()));
  for (int64_t row = 0; row < t.rows(); ++row) {
    for (int64_t column = 0; column < t.row_size(); ++column) {
      values.push_back(static_cast<float>(load_element(t, row, column)));
    }
  }
  return values;
}

double rms(const std::vector<float>& values) {
  double sum = 0;
  for (float v : values) sum += static_cast<double>(v) * v;
  return std::sqrt(sum / static_cast<double>(values.size()));
}

double rms_of_change(const std::vector<float>& now, const std::vector<float>& before) {
  double sum = 0;
  for (size_t i = 0; i < now.size(); ++i) {
    double d = static_cast<double>(now[i]) - before[i];
    sum += d * d;
  }
  return std::sqrt(sum / static_cast<double>(now.size()));
}

// One model at one width with one seed.
class Probe {
 public:
  Probe(Context& ctx, const MupStudy& study, int64_t width, uint64_t seed)
      : config_(with_mup(at_width(study.model, width), study.mup, study.model.dim)),
        model_(make_model(config_, Precision::float32(), ParameterStore::Gradients::wanted, "study mup")),
        tape_(ctx, Precision::float32(), Tape::Mode::record),
        optimizer_(ctx, model_->parameters(), study.optimizer, config_.matrix_rate_factor()),
        step_(*model_, tape_, optimizer_),
        probe_(study.probe) {
    model_->parameters().initialise(seed);
    Rng rng(kProbeStream, 0);
    model_->prepare(probe_, rng);
  }

  void train(Batch batch, int64_t number) {
    Rng rng(kBoundaryStream, static_cast<uint64_t>(number));
    model_->prepare(batch, rng);
    step_.accumulate(batch);
    if (step_.finish(1.0).applied) return;
    throw JobError({.what = "coordinate check: loss or gradient not finite",
                    .where = fmt::format("width {}, step {}", config_.dim, number + 1),
                    .hint = "try a lower optimizer.lr"});
  }

  // Residual streams and norms in the order of the pass, logits last.
  std::vector<Activation> activations() {
    std::vector<Activation> all;
    model_->observe([&](const std::string& name, const Tensor& value) {
      if (name.starts_with("hidden.")) all.push_back({name.substr(7), copied(value)});
    });
    quietly([&] { all.push_back({"logits", copied(model_->all_logits(tape_, probe_))}); });
    model_->observe({});
    return all;
  }

  double loss() {
    ops::LossSum sum;
    quietly([&] { sum = model_->loss(tape_, probe_); });
    return sum.sum / static_cast<double>(sum.tokens);
  }

 private:
  template <class Pass>
  void quietly(const Pass& pass) {
    tape_.reset();
    tape_.set_mode(Tape::Mode::no_grad);
    pass();
    tape_.reset();
    tape_.set_mode(Tape::Mode::record);
  }

  ModelConfig config_;
  std::unique_ptr<Model> model_;
  Tape tape_;
  Optimizer optimizer_;
  TrainingStep step_;
  Batch probe_;
};

// Adds one model's sizes to the means over the seeds.
void measure(Probe& probe, const MupStudy& study, size_t width, MupResult& result,
             const std::function<void()>& after_step) {
  std::vector<Activation> start = probe.activations();
  double share = 1.0 / static_cast<double>(study.seeds);
  if (result.activations.empty()) {
    for (const Activation& a : start) {
      CoordinateSeries series{.name = a.name};
      series.sizes.resize(study.widths.size());
      series.changes.assign(static_cast<size_t>(study.steps), std::vector<double>(study.widths.size()));
      result.activations.push_back(std::move(series));
    }
  }
  for (size_t i = 0; i < start.size(); ++i) result.activations[i].sizes[width] += share * rms(start[i].values);
  for (int64_t t = 0; t < study.steps; ++t) {
    auto at = static_cast<size_t>(t);
    probe.train(study.batches[at % study.batches.size()], t);
    std::vector<Activation> now = probe.activations();
    for (size_t i = 0; i < now.size(); ++i) {
      result.activations[i].changes[at][width] += share * rms_of_change(now[i].values, start[i].values);
    }
    after_step();
  }
  result.losses[width] += share * probe.loss();
}

void check(const MupStudy& study) {
  if (study.widths.size() < 2) {
    throw InputError({.what = "coordinate check", .got = "fewer than two widths", .expected = "two or more"});
  }
  if (study.steps < 1 || study.seeds < 1 || study.batches.empty()) {
    throw LogicError({.what = "coordinate check without steps, seeds or batches"});
  }
  for (int64_t width : study.widths) at_width(study.model, width);
}

}  // namespace

MupResult run_mup_study(Context& ctx, const MupStudy& study, const std::function<void(double)>& progress,
                        const std::function<bool()>& cancelled) {
  check(study);
  MupResult result;
  result.widths = study.widths;
  result.losses.resize(study.widths.size());
  double all = 0, done = 0;
  for (int64_t width : study.widths) all += static_cast<double>(width) * static_cast<double>(study.seeds * study.steps);
  for (size_t w = 0; w < study.widths.size(); ++w) {
    for (int64_t seed = 1; seed <= study.seeds; ++seed) {
      Probe probe(ctx, study, study.widths[w], static_cast<uint64_t>(seed));
      measure(probe, study, w, result, [&] {
        done += static_cast<double>(study.widths[w]);
        if (progress) progress(done / all);
        if (cancelled && cancelled()) throw Cancelled{};
      });
    }
  }
  std::vector<double> widths(study.widths.begin(), study.widths.end());
  for (CoordinateSeries& s : result.activations) {
    s.size_slope = log_slope(widths, s.sizes);
    s.first_change_slope = log_slope(widths, s.changes.front());
    s.change_slope = log_slope(widths, s.changes.back());
  }
  return result;
}

}  // namespace tandem
