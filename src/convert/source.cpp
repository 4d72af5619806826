#include "convert/source.h"

#include <algorithm>
#include <array>

#include "arch/model_folder.h"
#include "arch/stop_ids.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "convert/authors.h"
#include "convert/gguf_llama.h"
#include "convert/gguf_tokenizer.h"
#include "convert/huggingface.h"
#include "formats/huggingface_names.h"
#include "text/tokenizer.h"

namespace tandem {
namespace fs = std::filesystem;
namespace {

// Rows of the model that holds the parameters: no parameter depends on them, and tables of positions do.
constexpr int64_t kShortRows = 16;

// Fewer elements than any model of these sizes has.
double least_elements(const ModelConfig& c) {
  auto number = [](int64_t n) { return static_cast<double>(n); };
  double dim = number(c.dim), mlp = 2 * dim * number(c.mlp_size());
  if (c.arch == Arch::block_transformer) {
    return number(c.n_encoder_layers) * 12 * dim + number(c.vocab_size * block_sizes(c).token_dim);
  }
  double attention = 2 * dim * number(c.n_heads * c.head_size());
  bool plain = c.arch != Arch::yoco;
  return number(c.vocab_size) * dim + number(c.layers()) * (mlp + (plain ? attention : 0));
}

// A config of gigantic sizes must not take the machine's memory before a shape is compared.
void check_sizes(const ModelConfig& config, const ForeignTensors& tensors) {
  double least = least_elements(config), stored = static_cast<double>(tensors.elements());
  if (least <= stored) return;
  throw InputError({.what = "config and checkpoint do not belong together",
                    .where = tensors.path().string(),
                    .got = fmt::format("{:.0f} numbers", stored),
                    .expected = fmt::format("at least {:.0f} for the config's sizes", least)});
}

std::unique_ptr<Model> empty_model(const ModelConfig& config, const std::string& where) {
  ModelConfig small = config;
  int64_t rows = config.arch == Arch::block_transformer ? kShortRows * config.block.length : kShortRows;
  small.max_seq_len = std::min(config.max_seq_len, rows);
  return make_model(small, Precision::float32(), ParameterStore::Gradients::none, where);
}

constexpr const char* kNoTokenizer = "none";

void read_tokenizer(SourceModel& out, const fs::path& folder, const ConvertOptions& options) {
  if (!options.tokenizer.empty()) return;  // it is another one's, or none
  for (const char* name : {"tokenizer.json", "tokenizer.model"}) {
    if (!fs::is_regular_file(folder / name)) continue;
    Tokenizer tokenizer = Tokenizer::load(folder / name);
    if (tokenizer.vocab_size() > out.config.vocab_size) {
      throw InputError({.what = "tokenizer with more tokens than the model",
                        .where = (folder / name).string(),
                        .got = fmt::format("{}", tokenizer.vocab_size()),
                        .expected = fmt::format("at most {} (vocab_size)", out.config.vocab_size)});
    }
    out.tokenizer = tokenizer.file_bytes();
    out.tokenizer_name = tokenizer.file_name();
    return;
  }
}

void fill(SourceModel& out, ForeignTensors& tensors, const CheckpointMap& map, const std::string& where,
          const ConvertProgress& progress) {
  check_sizes(out.config, tensors);
  out.model = empty_model(out.config, where);
  read_checkpoint(tensors, map, out.model->parameters(), progress);
}

SourceModel read_tandem(const ConvertOptions& options) {
  SourceModel out{.format = ModelFormat::tandem, .config = read_model_config(options.source)};
  ForeignTensors tensors = ForeignTensors::open(options.source / "model.safetensors");
  if (std::string weights = tensors.said("weights"); weights.starts_with("int")) {
    throw InputError({.what = "quantised weights cannot be converted",
                      .where = tensors.path().string(),
                      .got = weights,
                      .expected = "f32 or bf16",
                      .hint = "convert the model that was quantised"});
  }
  std::string where = (options.source / "config.json").string();
  CheckpointMap same{[](const Parameter& p) { return parts_of(p, {p.name()}); }, {}};
  check_sizes(out.config, tensors);
  out.model = empty_model(out.config, where);
  read_checkpoint(tensors, same, out.model->parameters(), [](double, std::string_view) {});
  out.stop_ids = read_stop_ids(options.source, out.config.vocab_size);
  read_tokenizer(out, options.source, options);
  return out;
}

SourceModel read_huggingface(const ConvertOptions& options, const ConvertProgress& progress) {
  fs::path file = options.source / "config.json";
  std::string where = file.string();
  Json json = read_json(file);
  SourceModel out{.format = ModelFormat::huggingface, .config = huggingface_config(json, where, options.max_length)};
  ForeignTensors tensors = ForeignTensors::open(find_weights(options.source));
  // A tied matrix may be stored under both names.
  bool twice = out.config.tied_output && tensors.contains("lm_head.weight");
  CheckpointMap map = huggingface_map(out.config);
  if (twice) {
    map.ignores = [](std::string_view name) { return name == "lm_head.weight" || huggingface_ignores(name); };
  }
  fill(out, tensors, map, where, progress);
  out.stop_ids = stop_ids_of(json, out.config.vocab_size, where);
  add_ids(out.stop_ids, read_stop_ids(options.source, out.config.vocab_size));
  read_tokenizer(out, options.source, options);
  return out;
}

ModelConfig authors_config(const ConvertOptions& options, const ForeignTensors& tensors) {
  if (options.config) return *options.config;
  if (std::optional<ModelConfig> said = config_in_checkpoint(tensors)) return *said;
  const fs::path& weights = tensors.path();
  fs::path beside = weights.parent_path() / "config.json";
  if (!fs::is_regular_file(beside)) {
    throw InputError({.what = "a checkpoint that does not say its model's sizes",
                      .where = weights.string(),
                      .expected = "--config FILE: a run's TOML or a model's config.json"});
  }
  if (read_json(beside).contains("arch") && !read_json(beside).contains("tandem_arch")) {
    return read_model_config(beside.parent_path());
  }
  return options.read_config(beside);
}

SourceModel read_authors(const ConvertOptions& options, const ConvertProgress& progress) {
  fs::path weights = fs::is_directory(options.source) ? find_weights(options.source) : options.source;
  std::string where = weights.string();
  ForeignTensors tensors = ForeignTensors::open(weights);
  enter_state_dict(tensors);
  SourceModel out{.format = ModelFormat::authors, .config = authors_config(options, tensors)};
  fill(out, tensors, authors_map(out.config, where), where, progress);
  return out;
}

SourceModel read_gguf(const ConvertOptions& options, const ConvertProgress& progress) {
  SourceModel out{.format = ModelFormat::gguf};
  GgufFile file = GgufFile::open(options.source);
  out.config = gguf_config(file);
  out.stop_ids = gguf_stop_ids(file, out.config);
  if (options.tokenizer.empty()) {
    TokenizerFile tokenizer = tokenizer_of_gguf(file);
    if (!tokenizer.bytes.empty()) {
      Tokenizer::parse(tokenizer.bytes, options.source.string() + " (tokenizer)", tokenizer_format(tokenizer.name));
    }
    out.tokenizer = std::move(tokenizer.bytes);
    out.tokenizer_name = std::move(tokenizer.name);
  }
  ForeignTensors tensors = ForeignTensors::open(options.source);
  fill(out, tensors, gguf_map(out.config), options.source.string(), progress);
  return out;
}

// A config that does not say what ends a text takes the first of what does.
void put_eos_first(SourceModel& source) {
  std::vector<int32_t> ids;
  if (source.config.eos_id >= 0) ids.push_back(static_cast<int32_t>(source.config.eos_id));
  add_ids(ids, source.stop_ids);
  source.stop_ids = std::move(ids);
  if (!source.stop_ids.empty()) source.config.eos_id = source.stop_ids.front();
}

void shorten(ModelConfig& config, int64_t length) {
  if (length > config.max_seq_len) {
    throw InputError({.what = "rows longer than the model was made for",
                      .where = "--max-length",
                      .got = fmt::format("{}", length),
                      .expected = fmt::format("at most {}", config.max_seq_len)});
  }
  config.max_seq_len = length;
}

}  // namespace

ModelFormat detect_format(const fs::path& source) {
  if (!fs::exists(source)) {
    throw InputError(
        {.what = "nothing to convert", .where = "SOURCE", .got = source.string(), .expected = "a file or a folder"});
  }
  if (!fs::is_directory(source)) return source.extension() == ".gguf" ? ModelFormat::gguf : ModelFormat::authors;
  fs::path file = source / "config.json";
  if (!fs::is_regular_file(file)) return ModelFormat::authors;
  Json json = read_json(file);
  if (!json.is_object()) {
    throw InputError({.what = "not a model's config", .where = file.string(), .expected = "an object"});
  }
  if (json.contains("tandem_arch"))
    return is_huggingface_config(json) ? ModelFormat::huggingface : ModelFormat::authors;
  if (json.contains("arch")) return ModelFormat::tandem;
  return is_huggingface_config(json) ? ModelFormat::huggingface : ModelFormat::authors;
}

SourceModel read_source(const ConvertOptions& options, const ConvertProgress& progress) {
  ModelFormat format = options.from ? *options.from : detect_format(options.source);
  SourceModel out;
  switch (format) {
    case ModelFormat::tandem: out = read_tandem(options); break;
    case ModelFormat::huggingface: out = read_huggingface(options, progress); break;
    case ModelFormat::authors: out = read_authors(options, progress); break;
    case ModelFormat::gguf: out = read_gguf(options, progress); break;
  }
  put_eos_first(out);
  if (options.max_length > 0) shorten(out.config, options.max_length);
  if (!options.tokenizer.empty() && options.tokenizer != kNoTokenizer) {
    Tokenizer tokenizer = Tokenizer::load(options.tokenizer);
    out.tokenizer = tokenizer.file_bytes();
    out.tokenizer_name = tokenizer.file_name();
  }
  return out;
}

}  // namespace tandem
