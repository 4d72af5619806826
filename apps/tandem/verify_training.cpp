#include "verify_training.h"

#include <cmath>

#include "base/error.h"
#include "base/json.h"
#include "train/schedule.h"
#include "train/step.h"

namespace tandem::app {
namespace {

struct Recipe {
  OptimizerConfig optimizer;
  ScheduleConfig schedule;
  int64_t steps = 0;
  int64_t grad_accum = 0;
  int64_t total_steps = 0;
};

Recipe read_recipe(const GoldenCase& golden) {
  std::string where = (golden.folder / "config.json").string();
  const Json& optimizer = json_at(golden.json, "optimizer", where);
  const Json& schedule = json_at(golden.json, "schedule", where);
  const Json& betas = json_at(optimizer, "betas", where);
  if (!betas.is_array() || betas.size() != 2 || !betas[0].is_number() || !betas[1].is_number()) {
    throw InputError({.what = "wrong type of 'betas'", .where = where, .expected = "two numbers"});
  }
  Recipe recipe;
  recipe.optimizer.lr = json_number(optimizer, "base_lr", where);
  recipe.optimizer.weight_decay = json_number(optimizer, "weight_decay", where);
  recipe.optimizer.beta1 = betas[0];
  recipe.optimizer.beta2 = betas[1];
  recipe.optimizer.eps = json_number(optimizer, "eps", where);
  recipe.optimizer.clip = json_number(json_at(golden.json, "grad_clip", where), "max_norm", where);
  recipe.schedule.kind = ScheduleKind::linear;
  recipe.schedule.warmup_steps = json_int(schedule, "warmup_steps", where);
  recipe.schedule.floor = json_number(schedule, "floor", where);
  recipe.total_steps = json_int(schedule, "total_steps", where);
  recipe.steps = json_int(golden.json, "n_steps", where);
  recipe.grad_accum = json_int(golden.json, "grad_accum", where);
  return recipe;
}

double relative(double ours, double theirs) { return std::abs(ours - theirs) / std::max(std::abs(theirs), 1e-30); }

// Micro-batch k of the recorded ones; its boundaries are padded with -1.
Batch micro_batch(const SafetensorsFile& io, int64_t k, const std::string& where) {
  Tensor ids = io.tensor("input_ids"), targets = io.tensor("targets");
  if (ids.shape.rank() != 3 || k >= ids.shape[0]) {
    throw InputError({.what = "too few micro-batches",
                      .where = where,
                      .got = ids.shape.text(),
                      .expected = fmt::format("at least {} of shape [rows, length]", k + 1)});
  }
  std::vector<int64_t> boundaries;
  if (io.contains("blocks")) {
    Tensor blocks = io.tensor("blocks");
    for (int64_t i = 0; i < blocks.row_size(); ++i) {
      if (int64_t b = blocks.row<int64_t>(k)[i]; b >= 0) boundaries.push_back(b);
    }
  }
  auto one = [&](const Tensor& t) { return Tensor(t.row<int64_t>(k), t.dtype, {t.shape[1], t.shape[2]}); };
  return golden_batch(one(ids), one(targets), boundaries, where);
}

void compare_step(ParityCollector& out, const SafetensorsFile& io, int64_t step, const StepResult& result,
                  const Optimizer& optimizer, double factor, const GoldenCase& golden, bool judge) {
  auto judged = [&](double tolerance) { return judge ? std::optional(tolerance) : std::nullopt; };
  std::string name = fmt::format("step {}", step + 1);
  out.add("step_loss", "absolute", name, std::abs(result.loss - load_element(io.tensor("loss"), step, 0)),
          judged(golden.tolerance.step_loss_abs));
  out.add("grad_norm", "relative", name, relative(result.grad_norm, load_element(io.tensor("grad_norm"), step, 0)),
          judged(golden.tolerance.grad_norm_rel));
  constexpr MupGroup kGroups[] = {MupGroup::embedding, MupGroup::matrix, MupGroup::vector};
  for (int64_t g = 0; g < 3; ++g) {
    double rate = load_element(io.tensor("lr"), step, g);
    // The file holds float32 rates.
    out.add("learning_rate", "absolute", name, std::abs(optimizer.rate(kGroups[g], factor) - rate), judged(1e-9));
  }
}

}  // namespace

ParityReport check_training(Context& ctx, const GoldenCase& golden, const Precision& precision, bool judge) {
  Recipe recipe = read_recipe(golden);
  SafetensorsFile io = SafetensorsFile::open(golden.folder / "io.safetensors");
  SafetensorsFile end = SafetensorsFile::open(golden.folder / "final.safetensors");
  auto model = make_model(golden.config, precision, ParameterStore::Gradients::wanted, golden.folder.string());
  load_golden_weights(golden.folder / "weights.safetensors", *model);
  Optimizer optimizer(ctx, model->parameters(), recipe.optimizer, golden.config.matrix_rate_factor());
  Tape tape(ctx, precision, Tape::Mode::record);
  TrainingStep step(*model, tape, optimizer);

  ParityCollector out;
  for (int64_t k = 0; k < recipe.steps; ++k) {
    for (int64_t micro = 0; micro < recipe.grad_accum; ++micro) {
      step.accumulate(micro_batch(io, k * recipe.grad_accum + micro, golden.folder.string()));
    }
    double factor = rate_factor(recipe.schedule, k, recipe.total_steps);
    StepResult result = step.finish(factor);
    compare_step(out, io, k, result, optimizer, factor, golden, judge);
  }
  for (const Parameter& p : model->parameters().all()) {
    std::string name = golden_parameter_names(p, golden.config).front();
    double error = relative_difference(p.master(), end.tensor(name), 1.0, 1e-30);
    out.add("final_weights", "relative", name, error, judge ? std::optional(golden.tolerance.final_rel) : std::nullopt);
  }
  return out.report();
}

}  // namespace tandem::app
