#include "train/run_plan.h"

#include <cstdlib>
#include <memory>
#include <system_error>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "train/checkpoint.h"
#include "train/progress.h"
#include "train/run_folder.h"

namespace tandem {
namespace fs = std::filesystem;
namespace {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (fs::temp_directory_path() / "tandem-plan-XXXXXX").string();
    if (!::mkdtemp(name.data())) throw JobError({.what = "cannot create a temporary folder", .where = name});
    path_ = name;
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

// `to` shows what `from` holds; what is made anew lands in `to`.
void overlay(const fs::path& from, const fs::path& to) {
  create_folder(to);
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(from, ignored)) {
    fs::create_symlink(fs::absolute(entry.path()), to / entry.path().filename(), ignored);
  }
}

RunData prepare_aside(const RunConfig& config, ThreadPool& pool, const fs::path& aside) {
  for (const char* name : {"tokenizer.json", "tokenizer.model"}) {
    fs::path tokenizer = fs::path(config.output) / name;
    if (fs::exists(tokenizer)) fs::create_symlink(fs::absolute(tokenizer), aside / name);
  }
  overlay(config.data.cache.empty() ? fs::path(config.output) / "data" : fs::path(config.data.cache), aside / "data");
  DataConfig data = config.data;
  data.cache = (aside / "data").string();
  return prepare_run_data(data, pool, aside);
}

ParameterCounts count_parameters(const ParameterStore& parameters) {
  ParameterCounts counts;
  for (const Parameter& p : parameters.all()) {
    int64_t n = p.shape().elements();
    switch (p.group()) {
      case MupGroup::embedding: counts.embedding += n; break;
      case MupGroup::matrix: counts.matrix += n; break;
      case MupGroup::vector: counts.vector += n; break;
    }
  }
  return counts;
}

}  // namespace

RunPlan plan_run(Context& ctx, const RunConfig& config, const TrainHooks& hooks) {
  check(config, config.output);
  total_steps(config, 0);
  check_run_folder(config);
  TemporaryFolder aside;
  RunData data = prepare_aside(config, ctx.pool(), aside.path());
  Precision precision = choose_precision(config.precision, ctx.isa());
  RunPlan plan;
  plan.config = config;
  plan.config.model = model_config_of(config, data);
  auto model = make_model(plan.config.model, precision, ParameterStore::Gradients::wanted, config.output);
  check_model_memory(config, model->parameters());
  model->parameters().initialise(static_cast<uint64_t>(config.seed));
  Optimizer optimizer(ctx, model->parameters(), config.optimizer, plan.config.model.matrix_rate_factor());
  plan.parameters = count_parameters(model->parameters());
  plan.precision = dtype_name(precision.activation);
  plan.isa = isa_name(ctx.isa());
  plan.training_tokens = data.tokens.training().tokens();
  plan.flops_per_token = model->costs().flops_per_training_token;
  plan.steps_done = CheckpointStore(fs::path(config.output) / "checkpoints").newest().value_or(0);
  HeldOut heldout = data.tokens.heldout_rows(config.model.max_seq_len, config.eval_rows);
  plan.estimate = estimate_run({.ctx = ctx,
                                .config = config,
                                .data = data,
                                .model = *model,
                                .optimizer = optimizer,
                                .total_steps = total_steps(config, plan.training_tokens),
                                .steps_done = plan.steps_done,
                                .heldout_rows = hooks.validate ? heldout.rows() : 0,
                                .validation_rows = hooks.validation_rows});
  return plan;
}

OrderedJson to_json(const RunPlan& plan) {
  RunConfig config = plan.config;
  FieldList fields;
  list_fields(fields, config);
  OrderedJson json = {{"config", fields.to_json()},
                      {"precision", plan.precision},
                      {"isa", plan.isa},
                      {"parameters",
                       {{"total", plan.parameters.total()},
                        {"embedding", plan.parameters.embedding},
                        {"matrix", plan.parameters.matrix},
                        {"vector", plan.parameters.vector}}},
                      {"training_tokens", plan.training_tokens},
                      {"steps_done", plan.steps_done},
                      {"tokens", plan.tokens()},
                      {"flops_per_token", plan.flops_per_token},
                      {"flops", plan.flops()}};
  json.update(to_json(plan.estimate));
  return json;
}

std::string report(const RunPlan& plan) {
  const RunEstimate& e = plan.estimate;
  std::string text = to_toml(plan.config) + "\n";
  auto line = [&](const char* label, const std::string& value) { text += fmt::format("# {:<20}{}\n", label, value); };
  line("parameters", fmt::format("{}: {} in the embedding, {} in matrices, {} in vectors", plan.parameters.total(),
                                 plan.parameters.embedding, plan.parameters.matrix, plan.parameters.vector));
  line("computed in", fmt::format("{} on {}", plan.precision, plan.isa));
  if (e.total_steps > 0) {
    double epochs = static_cast<double>(plan.tokens()) / static_cast<double>(plan.training_tokens);
    line("steps", fmt::format("{}, {} of them done", e.total_steps, plan.steps_done));
    line("tokens",
         fmt::format("{}: {:.2f} times the {} of the training text", plan.tokens(), epochs, plan.training_tokens));
    line("FLOPs", fmt::format("{:.4g}: {:.4g} per token", plan.flops(), plan.flops_per_token));
  } else {
    line("steps", "as many as the clock allows");
    line("FLOPs", fmt::format("{:.4g} per token", plan.flops_per_token));
  }
  line("time", fmt::format("about {}: {:.0f} tokens/s, {:.3f} s per step", clock_text(e.time.total_seconds),
                           e.time.tokens_per_second, e.time.step_seconds));
  line("memory", fmt::format("about {} of {}", bytes_text(e.memory.total()), bytes_text(e.machine_memory)));
  line("", fmt::format("parameters {}, gradients {}, moments {}", bytes_text(e.memory.parameters),
                       bytes_text(e.memory.gradients), bytes_text(e.memory.moments)));
  line("", fmt::format("activations {}, program {}; mapped files {} besides", bytes_text(e.memory.activations),
                       bytes_text(e.memory.program), bytes_text(e.memory.mapped)));
  line("disk", fmt::format("about {} of {} free", bytes_text(e.disk.total()), bytes_text(e.disk.free)));
  line("", fmt::format("checkpoints {}, model {}, tokens {}, logs {}", bytes_text(e.disk.checkpoints),
                       bytes_text(e.disk.model), bytes_text(e.disk.tokens), bytes_text(e.disk.logs)));
  return text;
}

}  // namespace tandem
