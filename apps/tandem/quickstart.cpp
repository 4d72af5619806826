// quickstart: the whole path in a few minutes. Text (made up or the user's own), a tokenizer, a double decoder and its
// decoder-only twin trained for the same time, and what they cost and can do side by side.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <optional>

#include "arch/model_folder.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "data/synthetic.h"
#include "eval/recall.h"
#include "infer/text_generation.h"
#include "interrupt.h"
#include "output.h"
#include "train/progress.h"
#include "train/trainer.h"
#include "validation.h"
#include "verbs.h"

namespace tandem::app {
namespace {

namespace fs = std::filesystem;

struct QuickstartOptions {
  std::string text;
  std::string output;
  double seconds = 170;
  int threads = 0;
  bool json = false;
};

struct ModelResult {
  Arch arch = Arch::double_decoder;
  int64_t parameters = 0;
  Costs costs;
  TrainResult training;
  std::optional<double> recall;
  std::string sample;
};

constexpr int64_t kRecallQuestions = 100;
constexpr int64_t kSampleTokens = 48;

// A folder for the results: the one asked for, which must be new or empty, or the first free default name.
fs::path choose_output(const std::string& wanted) {
  auto usable = [](const fs::path& p) { return !fs::exists(p) || (fs::is_directory(p) && fs::is_empty(p)); };
  if (!wanted.empty()) {
    if (usable(wanted)) return wanted;
    throw InputError({.what = "the output folder is not empty",
                      .where = wanted,
                      .expected = "a new or an empty folder",
                      .hint = "name another one with --output, or remove it"});
  }
  for (int i = 1;; ++i) {
    fs::path path = i == 1 ? "quickstart" : fmt::format("quickstart-{}", i);
    if (usable(path)) return path;
  }
}

int64_t text_bytes(const fs::path& path) {
  if (!fs::exists(path)) {
    throw InputError({.what = "no such file or folder", .where = path.string(), .expected = "text to train on"});
  }
  if (fs::is_regular_file(path)) return static_cast<int64_t>(fs::file_size(path));
  int64_t total = 0;
  for (const auto& entry : fs::recursive_directory_iterator(path)) {
    if (entry.is_regular_file()) total += static_cast<int64_t>(entry.file_size());
  }
  return total;
}

// One config for both models: they differ in `arch` alone.
RunConfig shared_config(const QuickstartOptions& options, const fs::path& output) {
  RunConfig config;
  config.threads = options.threads;
  // Many small steps: recall appears after a few thousand of them, whatever their size.
  config.micro_batch = 4;
  config.max_seconds = options.seconds / 2;
  config.checkpoint_every = 0;
  config.eval_rows = 64;
  config.log_every = 5;
  config.model.dim = 128;
  config.model.n_heads = 2;
  config.model.n_encoder_layers = 4;
  config.model.n_decoder_layers = 2;
  config.model.max_seq_len = 256;
  config.model.mup_base_dim = 64;
  config.model.mup_base_head_dim = 64;
  config.optimizer.lr = 2e-3;
  config.data.cache = (output / "data").string();
  if (options.text.empty()) {
    config.data.synthetic_bytes = 6'000'000;
  } else {
    config.data.sources = {options.text};
    // Small texts give small vocabularies: every token should be seen often enough to be learnt.
    config.data.vocab_size = std::clamp<int64_t>(text_bytes(options.text) / 500, 512, 8192);
  }
  return config;
}

std::string sample_prompt(const QuickstartOptions& options, const RunData& data) {
  if (options.text.empty()) {
    std::string story = StoryMaker(7, SyntheticSplit::kHeldOut).story(0).text.substr(0, 200);
    return story.substr(0, story.rfind('.') + 1);  // whole sentences
  }
  // The beginning of the held-out text, without its BOS.
  HeldOut rows = data.tokens.heldout_rows(256, 1);
  Batch row = rows.batch(0, 1);
  size_t count = std::min<size_t>(24, row.ids.size());
  return data.tokenizer.decode(std::span<const int32_t>(row.ids).subspan(0, count), /*skip_special=*/true);
}

std::string write_sample(Context& ctx, Model& model, const Tokenizer& tokenizer, const std::string& prompt, int32_t bos,
                         int32_t eos) {
  Generator generator(ctx, model);
  GenerationOptions options;
  options.max_tokens = kSampleTokens;
  options.sampling.temperature = 0.7;
  options.sampling.top_k = 40;
  options.sampling.seed = 1;
  options.eos = {eos};
  std::vector<int32_t> ids = encode_prompt(tokenizer, prompt, bos);
  return generate_text(generator, tokenizer, Prompt::continue_text(ids), options, {}).text;
}

ModelResult train_one(Context& ctx, RunConfig config, Arch arch, const RunData& data, const QuickstartOptions& options,
                      const fs::path& output) {
  ModelResult result;
  result.arch = arch;
  config.model.arch = arch;
  config.output = (output / arch_name(arch)).string();
  log::info("training {} for {:.0f} s", arch_name(arch), config.max_seconds);
  TrainHooks hooks;
  ProgressDisplay display;
  hooks.validate = validate;
  hooks.progress = [&](const TrainProgress& progress) { display.show(progress); };
  hooks.notice = [&](const std::string& line) { display.say(line); };
  hooks.should_stop = interrupted;
  result.training = train(ctx, config, data, hooks);
  if (result.training.end == TrainResult::End::stopped) return result;

  Precision precision = choose_precision(config.precision, ctx.isa());
  auto model = load_model(result.training.model, precision, ParameterStore::Gradients::none);
  result.parameters = model->parameters().elements();
  result.costs = model->costs();
  int32_t bos = data.tokens.document_tokens().bos, eos = data.tokens.document_tokens().eos;
  if (options.text.empty()) {
    Tape tape(ctx, precision, Tape::Mode::no_grad);
    // Prompts have to fit into the rows of training.
    auto questions = recall_questions(3, kRecallQuestions, 700);
    result.recall = evaluate_recall(*model, tape, data.tokenizer, bos, questions).accuracy();
  }
  std::string prompt = sample_prompt(options, data);
  result.sample = prompt + write_sample(ctx, *model, data.tokenizer, prompt, bos, eos);
  return result;
}

OrderedJson to_json(const ModelResult& r) {
  OrderedJson out{{"arch", arch_name(r.arch)}, {"parameters", r.parameters}, {"tokens_seen", r.training.tokens}};
  out["heldout_loss"] = r.training.heldout ? OrderedJson(r.training.heldout->loss) : OrderedJson(nullptr);
  out["heldout_bits_per_byte"] =
      r.training.heldout ? OrderedJson(r.training.heldout->bits_per_byte) : OrderedJson(nullptr);
  out["recall_accuracy"] = r.recall ? OrderedJson(*r.recall) : OrderedJson(nullptr);
  out["cache_bytes_per_token"] = r.costs.cache_bytes_per_token;
  out["cache_bytes_with_encoder"] = r.costs.cache_bytes_with_encoder;
  out["cache_bytes_at_rest"] = r.costs.cache_bytes_at_rest;
  out["flops_per_generated_token"] = r.costs.flops_per_generated_token;
  out["train_tokens_per_second"] = r.training.tokens_per_second;
  out["sample"] = r.sample;
  out["model"] = r.training.model.string();
  return out;
}

std::string table(const std::vector<ModelResult>& results) {
  std::string text = fmt::format("\n{:<28}", "");
  auto row = [&](const char* name, auto value) {
    text += fmt::format("\n{:<28}", name);
    for (const ModelResult& r : results) text += fmt::format("{:>18}", value(r));
  };
  for (const ModelResult& r : results) text += fmt::format("{:>18}", arch_name(r.arch));
  row("parameters", [](const ModelResult& r) { return fmt::format("{}", r.parameters); });
  row("tokens seen", [](const ModelResult& r) { return fmt::format("{}", r.training.tokens); });
  row("held-out loss (nats/token)",
      [](const ModelResult& r) { return r.training.heldout ? fmt::format("{:.3f}", r.training.heldout->loss) : "-"; });
  row("held-out bits per byte", [](const ModelResult& r) {
    return r.training.heldout ? fmt::format("{:.3f}", r.training.heldout->bits_per_byte) : "-";
  });
  row("recall accuracy",
      [](const ModelResult& r) { return r.recall ? fmt::format("{:.0f} %", 100 * *r.recall) : "-"; });
  row("cache bytes per token",
      [](const ModelResult& r) { return fmt::format("{:.0f}", r.costs.cache_bytes_per_token); });
  row("  with encoder state",
      [](const ModelResult& r) { return fmt::format("{:.0f}", r.costs.cache_bytes_with_encoder); });
  row("  at rest", [](const ModelResult& r) { return fmt::format("{:.0f}", r.costs.cache_bytes_at_rest); });
  row("MFLOP per generated token",
      [](const ModelResult& r) { return fmt::format("{:.2f}", r.costs.flops_per_generated_token / 1e6); });
  row("training tokens/s", [](const ModelResult& r) { return fmt::format("{:.0f}", r.training.tokens_per_second); });
  text += "\n";
  for (const ModelResult& r : results) text += fmt::format("\n--- {} ---\n{}\n", arch_name(r.arch), r.sample);
  return text;
}

// Text that cannot be used leaves nothing behind.
RunData prepare_in(const fs::path& output, const DataConfig& config, ThreadPool& pool) {
  bool existed = fs::exists(output);
  try {
    return prepare_run_data(config, pool, output / "data");
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(output / "data", ignored);
    if (!existed) fs::remove(output, ignored);
    throw;
  }
}

int run_quickstart(const QuickstartOptions& options) {
  fs::path output = choose_output(options.output);
  Context ctx(options.threads);
  InterruptScope interrupts;
  RunConfig config = shared_config(options, output);
  RunData data = prepare_in(output, config.data, ctx.pool());
  log::info("{}: {} tokens to train on, {} held out", options.text.empty() ? "made-up stories" : options.text,
            data.tokens.training().tokens(), data.tokens.heldout().tokens());

  std::vector<ModelResult> results;
  for (Arch arch : {Arch::double_decoder, Arch::decoder}) {
    results.push_back(train_one(ctx, config, arch, data, options, output));
    if (results.back().training.end == TrainResult::End::stopped) {
      fmt::print(stderr, "stopped at step {} of {}\n", results.back().training.steps, arch_name(arch));
      return kInterruptedExit;
    }
  }
  OrderedJson json{{"output", output.string()}, {"text", options.text.empty() ? "synthetic" : options.text}};
  json["models"] = OrderedJson::array();
  for (const ModelResult& r : results) json["models"].push_back(to_json(r));
  write_file_atomically(output / "quickstart.json", json.dump(2) + "\n");
  if (options.json) {
    write_json(json);
    return 0;
  }
  write_output(table(results));
  write_output(fmt::format("\nTry: tandem generate {} --prompt \"Once\"\n", results[0].training.model.string()));
  return 0;
}

}  // namespace

void add_quickstart_verb(CLI::App& app, Action& action) {
  auto options = std::make_shared<QuickstartOptions>();
  CLI::App* verb =
      app.add_subcommand("quickstart", "Train a double decoder and its decoder-only twin and compare them, in minutes");
  verb->add_option("--text", options->text,
                   "your own text: a .txt or .jsonl file or a folder; default: made-up stories");
  verb->add_option("--output", options->output, "folder of the results; default: ./quickstart");
  verb->add_option("--seconds", options->seconds, "training time of both models together")->check(CLI::Range(1.0, 1e6));
  verb->add_option("--threads", options->threads, "threads; 0: all cores")->check(CLI::Range(0, 1024));
  verb->add_flag("--json", options->json, "Print one JSON object");
  verb->callback([options, &action] { action = [options] { return run_quickstart(*options); }; });
}

}  // namespace tandem::app
