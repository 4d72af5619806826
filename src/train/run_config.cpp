#include "train/run_config.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <system_error>

#include "base/error.h"
#include "base/json.h"
#include "base/toml.h"

namespace tandem {
namespace fs = std::filesystem;
namespace {

// What may change when a run goes on: everything else shapes its numbers.
constexpr std::array kFree{
    "output",           "steps",     "tokens",     "epochs",      "max_seconds",  "threads", "checkpoint_every",
    "keep_checkpoints", "keep_best", "export",     "tensorboard", "check_memory", "zero",    "eval_every",
    "eval_rows",        "log_every", "data.cache", "recompute"};
// The guard acts when a run is in trouble; the one who looks after it may then change what it does. Evaluation changes
// nothing.
constexpr std::array<std::string_view, 2> kFreeGroups{"guard.", "evaluation."};

void require(bool holds, const char* key, const std::string& where, const std::string& got,
             const std::string& expected) {
  if (holds) return;
  throw InputError({.what = fmt::format("bad value of '{}'", key), .where = where, .got = got, .expected = expected});
}

fs::path program_folder() {
  std::error_code error;
  fs::path program = fs::read_symlink("/proc/self/exe", error);
  return error ? fs::path() : program.parent_path();
}

int64_t steps_for(double tokens, const RunConfig& config) {
  return static_cast<int64_t>(std::ceil(tokens / static_cast<double>(config.tokens_per_step())));
}

}  // namespace

void list_fields(FieldList& fields, EvaluationConfig& config) {
  fields.add("choice", config.choice, "files of questions that every validation asks");
  fields.add("choice_items", config.choice_items, "questions of each file, spread evenly; 0: all");
  fields.add("prompt", config.prompt, "text that the model goes on with at every validation; empty: none");
  fields.add("sample_tokens", config.sample_tokens, "tokens that it writes");
}

void list_fields(FieldList& fields, RunConfig& config) {
  fields.add("output", config.output, "run folder; empty: runs/ and the config's name");
  fields.add("init", config.init, "model or run folder to begin with: parameters, sizes and tokenizer are its own");
  fields.add("steps", config.steps, "length of the run in optimizer steps");
  fields.add("tokens", config.tokens, "the same in tokens, instead of steps");
  fields.add("epochs", config.epochs, "the same in passes over the training text, instead of steps");
  fields.add("max_seconds", config.max_seconds, "ends the run by the clock, learning rate included; 0: no limit");
  fields.add("seed", config.seed, "seed of parameters and block boundaries");
  fields.add_enum<PrecisionChoice>("precision", config.precision,
                                   {{"auto", PrecisionChoice::automatic},
                                    {"float32", PrecisionChoice::float32},
                                    {"bf16", PrecisionChoice::bfloat16},
                                    {"f32", PrecisionChoice::float32},
                                    {"fp32", PrecisionChoice::float32},
                                    {"bfloat16", PrecisionChoice::bfloat16}},
                                   "type of matrix products; auto: bf16 where the processor has units for it");
  fields.add_enum<ObjectiveChoice>("objective", config.objective,
                                   {{"auto", ObjectiveChoice::automatic},
                                    {"text", ObjectiveChoice::text},
                                    {"prefix_lm", ObjectiveChoice::prefix_lm},
                                    {"span_corruption", ObjectiveChoice::span_corruption},
                                    {"conversation", ObjectiveChoice::conversation}},
                                   "what is learnt; auto: the responses of conversations, of text next tokens, or "
                                   "spans with an encoder-decoder");
  fields.add_enum<ProductsBy>("products", config.products,
                              {{"rule", ProductsBy::rule}, {"measured", ProductsBy::measurement}},
                              "who computes each matrix product, own kernels or oneDNN; measured: the faster one here, "
                              "which the run folder remembers");
  fields.add("threads", config.threads, "0: one per core");
  fields.add("micro_batch", config.micro_batch, "rows per forward and backward pass");
  fields.add("grad_accum", config.grad_accum, "passes per optimizer step");
  fields.add_enum<Recompute>(
      "recompute", config.recompute,
      {{"none", Recompute::none}, {"attention", Recompute::attention}, {"layers", Recompute::layers}},
      "activations that are not kept for the backward pass but computed once more: the same bits, less memory");
  fields.add("eval_every", config.eval_every, "steps between validations; 0: only at the end");
  fields.add("eval_rows", config.eval_rows, "held-out rows of a validation; 0: all");
  fields.add("checkpoint_every", config.checkpoint_every, "steps between checkpoints; 0: only at the end");
  fields.add("keep_checkpoints", config.keep_checkpoints, "newest checkpoints that stay");
  fields.add("keep_best", config.keep_best, "the best validation leaves a checkpoint that stays");
  fields.add_enum<ExportedModel>("export", config.exported,
                                 {{"last", ExportedModel::last}, {"best", ExportedModel::best}},
                                 "parameters in model/ at the end: of the last step or of the best validation");
  fields.add("log_every", config.log_every, "steps between lines of log.jsonl");
  fields.add("tensorboard", config.tensorboard, "write event files for TensorBoard too");
  fields.add("check_memory", config.check_memory, "refuse a run that can't fit into this machine's memory");
  fields.add("zero", config.zero,
             "ranks under mpirun share out the optimizer's moments instead of having all (ZeRO-1)");
  fields.group("model", [&](FieldList& group) { list_fields(group, config.model); });
  fields.group("data", [&](FieldList& group) { list_fields(group, config.data); });
  fields.group("optimizer", [&](FieldList& group) { list_fields(group, config.optimizer); });
  fields.group("schedule", [&](FieldList& group) { list_fields(group, config.schedule); });
  fields.group("guard", [&](FieldList& group) { list_fields(group, config.guard); });
  fields.group("evaluation", [&](FieldList& group) { list_fields(group, config.evaluation); });
}

void check(const RunConfig& config, const std::string& where) {
  auto positive = [&](int64_t value, const char* key, int64_t most) {
    require(value >= 1 && value <= most, key, where, fmt::format("{}", value), fmt::format("1..{}", most));
  };
  auto natural = [&](int64_t value, const char* key) {
    require(value >= 0, key, where, fmt::format("{}", value), "0 or more");
  };
  natural(config.steps, "steps");
  natural(config.tokens, "tokens");
  require(config.epochs >= 0, "epochs", where, fmt::format("{}", config.epochs), "0 or more");
  require(config.max_seconds >= 0, "max_seconds", where, fmt::format("{}", config.max_seconds), "0 or more");
  natural(config.seed, "seed");
  require(config.threads >= 0 && config.threads <= 1024, "threads", where, fmt::format("{}", config.threads),
          "0..1024");
  positive(config.micro_batch, "micro_batch", 1 << 16);
  positive(config.grad_accum, "grad_accum", 1 << 16);
  natural(config.eval_every, "eval_every");
  natural(config.eval_rows, "eval_rows");
  natural(config.checkpoint_every, "checkpoint_every");
  positive(config.keep_checkpoints, "keep_checkpoints", 1 << 16);
  positive(config.log_every, "log_every", int64_t{1} << 32);
  natural(config.model.vocab_size, "model.vocab_size");
  if (config.model.vocab_size > 0) {
    config.model.validate(where);
  } else {
    ModelConfig model = config.model;
    model.vocab_size = int64_t{1} << 24;
    model.validate(where);
  }
  Objective objective = objective_of(config);
  require(learns(config.model.arch, objective), "objective", where, std::string(objective_name(objective)),
          fmt::format("{} with arch = {}", objectives_of(config.model.arch), arch_name(config.model.arch)));
  bool conversations = config.data.records == Records::conversations;
  require(conversations == (objective == Objective::conversation), "objective", where,
          std::string(objective_name(objective)),
          conversations ? "conversation with data.records = conversations"
                        : "another one, or data.records = conversations");
  check(config.optimizer, where);
  check(config.schedule, where);
  check(config.guard, where);
  require(config.exported == ExportedModel::last || config.keep_best, "export", where, "best with keep_best = false",
          "keep_best = true, or export = \"last\"");
  natural(config.evaluation.choice_items, "evaluation.choice_items");
  positive(config.evaluation.sample_tokens, "evaluation.sample_tokens", 1 << 20);
}

fs::path find_config(const std::string& name) {
  if (fs::is_regular_file(name)) return name;
  fs::path beside = program_folder();
  for (const fs::path& folder : {fs::path("configs"), beside / "../configs", beside / "../share/tandem/configs"}) {
    for (const char* ending : {".toml", ""}) {
      fs::path path = folder / (name + ending);
      if (fs::is_regular_file(path)) return path.lexically_normal();
    }
  }
  throw InputError({.what = "no such config",
                    .where = name,
                    .got = fs::is_directory(name) ? "a folder" : "nothing there",
                    .expected = "a .toml file, or the name of one under configs/ such as tiny or paper/dd_0.6m"});
}

RunConfig read_run_config(const std::string& name, std::span<const std::string> overrides,
                          const CompleteConfig& complete) {
  fs::path path = find_config(name);
  RunConfig config;
  FieldList fields;
  list_fields(fields, config);
  apply_toml(fields, path);
  for (const std::string& assignment : overrides) apply_override(fields, assignment);
  if (config.output.empty()) config.output = (fs::path("runs") / path.stem()).string();
  if (complete) complete(config, fields, path.string());
  check(config, path.string());
  return config;
}

std::string to_toml(const RunConfig& config) {
  RunConfig copy = config;
  FieldList fields;
  list_fields(fields, copy);
  return to_toml(fields);
}

std::string first_difference(const RunConfig& a, const RunConfig& b) {
  RunConfig copy_a = a, copy_b = b;
  FieldList fields_a, fields_b;
  list_fields(fields_a, copy_a);
  list_fields(fields_b, copy_b);
  for (const std::string& name : fields_a.names()) {
    bool free =
        std::any_of(kFreeGroups.begin(), kFreeGroups.end(), [&](auto group) { return name.starts_with(group); }) ||
        std::find(kFree.begin(), kFree.end(), name) != kFree.end();
    if (!free && fields_a.get(name) != fields_b.get(name)) return name;
  }
  return "";
}

int64_t total_steps(const RunConfig& config, int64_t training_tokens) {
  int given = (config.steps > 0) + (config.tokens > 0) + (config.epochs > 0);
  if (given > 1 || (given == 0 && config.max_seconds <= 0)) {
    throw InputError({.what = "length of the run",
                      .got = fmt::format("steps = {}, tokens = {}, epochs = {}, max_seconds = {}", config.steps,
                                         config.tokens, config.epochs, config.max_seconds),
                      .expected = "one of steps, tokens and epochs, or max_seconds",
                      .hint = given > 1 ? "set the others to 0" : "for example steps=1000"});
  }
  if (config.tokens > 0) return steps_for(static_cast<double>(config.tokens), config);
  if (config.epochs > 0) return steps_for(config.epochs * static_cast<double>(training_tokens), config);
  return config.steps;
}

Objective objective_of(const RunConfig& config) {
  switch (config.objective) {
    case ObjectiveChoice::text: return Objective::text;
    case ObjectiveChoice::prefix_lm: return Objective::prefix_lm;
    case ObjectiveChoice::span_corruption: return Objective::span_corruption;
    case ObjectiveChoice::conversation: return Objective::conversation;
    case ObjectiveChoice::automatic: break;
  }
  bool conversations = config.data.records == Records::conversations;
  return conversations ? Objective::conversation : default_objective(config.model.arch);
}

ModelConfig resolve_model(const RunConfig& config, int64_t tokenizer_size) {
  ModelConfig model = config.model;
  model.fit_tokenizer(tokenizer_size);
  return model;
}

ModelConfig resolve_model(const RunConfig& config) {
  ModelConfig model = config.model;
  model.fit_tokenizer(model.vocab_size > 0 ? 0 : config.data.vocab_size);
  // Sizes do not depend on which tokens these are.
  if (model.bos_id < 0) model.bos_id = 0;
  if (model.eos_id < 0) model.eos_id = std::min<int64_t>(1, model.vocab_size - 1);
  return model;
}

Precision choose_precision(PrecisionChoice choice, Isa isa) {
  bool narrow = choice != PrecisionChoice::float32 && has_bf16_products(isa);
  return narrow ? Precision::bfloat16() : Precision::float32();
}

}  // namespace tandem
