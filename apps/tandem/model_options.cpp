#include "model_options.h"

#include "arch/model_folder.h"
#include "arch/stop_ids.h"
#include "base/error.h"
#include "train/run_config.h"

namespace tandem::app {

void add_model_options(CLI::App& verb, ModelOptions& options) {
  verb.add_option("MODEL", options.model,
                  "Model folder: config.json, model.safetensors, tokenizer.json or tokenizer.model")
      ->required();
  add_run_options(verb, options);
}

void add_run_options(CLI::App& verb, ModelOptions& options) {
  verb.add_option("--threads", options.threads, "Threads; 0: all cores")->check(CLI::Range(0, 1024));
  verb.add_option("--precision", options.precision, "bf16 where the processor has products for it, else float32 (auto)")
      ->check(CLI::IsMember({"auto", "float32", "bf16"}))
      ->capture_default_str();
  verb.add_option("--quantize", options.quantize,
                  "Weights in int8 (a scale per output), in int4 (a scale per 32 inputs)")
      ->check(CLI::IsMember({"none", "int8", "int4"}))
      ->capture_default_str();
}

Precision chosen_precision(const std::string& name, Isa isa) {
  if (name == "float32") return choose_precision(PrecisionChoice::float32, isa);
  if (name == "bf16") return choose_precision(PrecisionChoice::bfloat16, isa);
  return choose_precision(PrecisionChoice::automatic, isa);
}

kernels::WeightFormat weight_format(const std::string& quantize, const Precision& precision) {
  if (quantize == "int8") return kernels::WeightFormat::int8;
  if (quantize == "int4") return kernels::WeightFormat::int4;
  if (quantize == "bf16") return kernels::WeightFormat::bf16;
  return precision.activation == DType::bf16 ? kernels::WeightFormat::bf16 : kernels::WeightFormat::f32;
}

namespace {

void set_boundaries(ModelConfig& config, const std::string& text) {
  if (text.empty()) return;
  if (config.arch != Arch::double_decoder) {
    throw InputError({.what = "a model without blocks",
                      .where = fmt::format("--boundaries {}", text),
                      .got = std::string(arch_name(config.arch)),
                      .expected = "double_decoder"});
  }
  if (!config.boundaries.parse(text)) {
    throw InputError({.what = "no such choice of blocks",
                      .where = "--boundaries",
                      .got = text,
                      .expected = BoundaryStrategy::forms()});
  }
  config.validate("--boundaries");
}

// Weights that the folder holds quantised are not rounded once more.
void check_quantised(const Model& model, const ModelOptions& options) {
  for (const Parameter& p : model.parameters().all()) {
    if (!p.packed().defined() || options.quantize == "none") continue;
    std::string stored(weight_format_name(p.packed().format()));
    if (stored == options.quantize) continue;
    throw InputError({.what = "the model's weights are quantised already",
                      .where = fmt::format("--quantize {}", options.quantize),
                      .got = fmt::format("{} in {}", stored, options.model)});
  }
}

}  // namespace

LoadedModel load(const ModelOptions& options, Context& ctx) {
  std::filesystem::path folder = options.model;
  ModelConfig config = read_model_config(folder);
  Tokenizer tokenizer = Tokenizer::load_from_folder(folder);
  if (tokenizer.vocab_size() > config.vocab_size) {
    throw InputError({.what = "tokenizer has more ids than the model",
                      .where = folder.string(),
                      .got = fmt::format("{}", tokenizer.vocab_size()),
                      .expected = fmt::format("at most {}", config.vocab_size),
                      .hint = "do the tokenizer and config.json belong together?"});
  }
  DocumentTokens document_tokens = find_document_tokens(tokenizer, DataConfig{});
  set_boundaries(config, options.boundaries);
  if (options.max_seq_len > 0) config.max_seq_len = options.max_seq_len;
  Precision precision = chosen_precision(options.precision, ctx.isa());
  std::unique_ptr<Model> model = load_model(folder, config, precision, ParameterStore::Gradients::none);
  check_quantised(*model, options);
  if (options.generates || options.quantize != "none") {
    model->parameters().pack(ctx, weight_format(options.quantize, precision));
  }
  std::vector<int32_t> ends{document_tokens.eos};
  add_ids(ends, read_stop_ids(folder, config.vocab_size));
  return {std::move(tokenizer), document_tokens, std::move(model), std::move(ends)};
}

void pack_weights(const ModelOptions& options, Context& ctx, Model& model) {
  if (options.generates || options.quantize != "none") return;
  model.parameters().pack(ctx, weight_format(options.quantize, model.parameters().precision()));
}

}  // namespace tandem::app
