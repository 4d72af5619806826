#include "convert/convert.h"

#include <algorithm>
#include <array>

#include "arch/model_folder.h"
#include "arch/stop_ids.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "convert/authors.h"
#include "convert/destination.h"
#include "convert/gguf_llama.h"
#include "convert/gguf_tokenizer.h"
#include "convert/huggingface.h"
#include "convert/shards.h"
#include "convert/source.h"
#include "formats/safetensors.h"
#include "formats/torch_file.h"
#include "text/tokenizer.h"

namespace tandem {
namespace fs = std::filesystem;
namespace {

struct Format {
  std::string_view name;
  ModelFormat format;
};
constexpr std::array<Format, 4> kFormats{{{"tandem", ModelFormat::tandem},
                                          {"authors", ModelFormat::authors},
                                          {"huggingface", ModelFormat::huggingface},
                                          {"gguf", ModelFormat::gguf}}};

struct Type {
  std::string_view name;
  WeightType type;
  GgufTensorType gguf;
};
constexpr std::array<Type, 5> kTypes{{{"f32", WeightType::float32, GgufTensorType::f32},
                                      {"bf16", WeightType::bfloat16, GgufTensorType::bfloat16},
                                      {"f16", WeightType::float16, GgufTensorType::float16},
                                      {"q8_0", WeightType::q8_0, GgufTensorType::q8_0},
                                      {"q4_0", WeightType::q4_0, GgufTensorType::q4_0}}};

// Of tensors in files that know no blocks.
DType dtype_of(WeightType type, ModelFormat format) {
  bool half = type == WeightType::float16 && format != ModelFormat::tandem;
  if (type == WeightType::float32) return DType::f32;
  if (type == WeightType::bfloat16) return DType::bf16;
  if (half) return DType::f16;
  throw InputError({.what = fmt::format("a type that {} files do not have", format_name(format)),
                    .where = "--type",
                    .got = std::string(weight_type_name(type)),
                    .expected = format == ModelFormat::tandem ? "f32 or bf16" : "f32, bf16 or f16"});
}

// As torch calls the types of real numbers.
std::string torch_name(DType dtype) { return dtype == DType::bf16 ? "bfloat16" : std::string(dtype_name(dtype)); }

// By the destination's ending.
ModelFormat guess_target(const ConvertOptions& options, ModelFormat from) {
  std::string ending = options.destination.extension().string();
  if (ending == ".gguf") return ModelFormat::gguf;
  if (ForeignTensors::knows(options.destination)) return ModelFormat::authors;
  if (from != ModelFormat::tandem) return ModelFormat::tandem;
  throw InputError({.what = "no format to convert to",
                    .where = "--to",
                    .expected = "huggingface, authors or gguf",
                    .hint = "SOURCE is a model folder already"});
}

bool is_folder(ModelFormat format) { return format == ModelFormat::tandem || format == ModelFormat::huggingface; }

void write_tokenizer(const SourceModel& source, const fs::path& folder) {
  if (!source.tokenizer.empty()) write_file_atomically(folder / source.tokenizer_name, source.tokenizer);
}

// The masters as tensors of a safetensors file.
void write_tensors(const fs::path& file, const ParameterStore& parameters, const CheckpointMap& map, DType dtype,
                   const std::map<std::string, std::string>& metadata, const ConvertProgress& progress) {
  std::deque<Storage> made;
  std::vector<NamedTensor> entries = checkpoint_entries(parameters, map, dtype, made, progress);
  write_safetensors(file, entries, metadata);
}

std::string config_text(ModelConfig config) {
  FieldList fields;
  list_fields(fields, config);
  return fields.to_json().dump(2) + "\n";
}

void write_tandem(SourceModel& source, const fs::path& folder, DType dtype, const ConvertProgress& progress) {
  CheckpointMap same{[](const Parameter& p) { return parts_of(p, {p.name()}); }, {}};
  std::map<std::string, std::string> metadata{{"format", "tandem"}};
  if (dtype == DType::bf16) metadata["weights"] = "bf16";
  write_tensors(folder / "model.safetensors", source.model->parameters(), same, dtype, metadata, progress);
  write_tokenizer(source, folder);
  write_stop_ids(folder, source.stop_ids);
  write_file_atomically(folder / "config.json", config_text(source.config));
}

// Where a format has room for `kept` of the tokens that end a text.
void note_lost_stop_ids(SourceModel& source, size_t kept) {
  if (source.stop_ids.size() <= kept) return;
  source.notes.push_back(fmt::format("of {} tokens that end a text only the first {} kept", source.stop_ids.size(),
                                     kept == 1 ? "is" : fmt::format("{} are", kept)));
}

// By the ending of the file: safetensors, or an archive of PyTorch laid out as their training scripts have it.
void write_authors(SourceModel& source, const fs::path& file, DType dtype, const ConvertProgress& progress) {
  CheckpointMap map = authors_map(source.config, "SOURCE");
  std::string ending = file.extension().string();
  const ParameterStore& parameters = source.model->parameters();
  if (ending == ".safetensors") {
    write_tensors(file, parameters, map, dtype, {{"format", "pt"}}, progress);
  } else if (ending == ".pt" || ending == ".pth" || ending == ".bin") {
    std::deque<Storage> made;
    std::vector<NamedTensor> entries = checkpoint_entries(parameters, map, dtype, made, progress);
    const std::vector<NamedTensor> own = entries;
    for (const auto& [alias, name] : authors_aliases(source.config)) {  // which share the bytes
      auto found = std::ranges::find(own, name, &NamedTensor::name);
      if (found != own.end()) entries.push_back({alias, found->tensor});
    }
    write_torch_file(file, entries, authors_key(source.config));
  } else {
    throw InputError({.what = "file of an unknown kind",
                      .where = "DESTINATION",
                      .got = "'" + ending + "'",
                      .expected = "*.safetensors, *.pt, *.pth or *.bin"});
  }
  if (!source.tokenizer.empty()) source.notes.push_back("the tokenizer stays where it is: the checkpoint is one file");
  source.tokenizer.clear();
  note_lost_stop_ids(source, 1);
}

// What transformers wants beside a tokenizer.json to load it, and where generation ends.
void write_huggingface_extras(const SourceModel& source, const fs::path& folder) {
  const ModelConfig& c = source.config;
  OrderedJson generation = OrderedJson::object();
  if (c.bos_id >= 0) generation["bos_token_id"] = c.bos_id;
  if (!source.stop_ids.empty()) generation["eos_token_id"] = stop_ids_json(source.stop_ids);
  write_file_atomically(folder / "generation_config.json", generation.dump(2) + "\n");
  if (source.tokenizer.empty() || source.tokenizer_name != "tokenizer.json") return;
  Tokenizer tokenizer = Tokenizer::parse(source.tokenizer, source.tokenizer_name);
  OrderedJson about{{"tokenizer_class", "PreTrainedTokenizerFast"}, {"model_max_length", c.max_seq_len}};
  auto name = [&](const char* key, int64_t id) {
    if (id >= 0 && id < tokenizer.vocab_size()) about[key] = tokenizer.id_to_token(static_cast<int32_t>(id));
  };
  name("bos_token", c.bos_id);
  name("eos_token", c.eos_id);
  about["clean_up_tokenization_spaces"] = false;
  write_file_atomically(folder / "tokenizer_config.json", about.dump(2) + "\n");
}

void fold_mup(SourceModel& source) {
  if (source.config.mup_base_dim == 0 && source.config.mup_base_head_dim == 0) return;
  fold_scales(source.config, source.model->parameters());
  source.notes.push_back("muP's scales of scores and logits went into the weights");
}

void write_huggingface(SourceModel& source, const fs::path& folder, DType dtype, int64_t shard_bytes,
                       const ConvertProgress& progress) {
  OrderedJson json = huggingface_json(source.config, torch_name(dtype), "SOURCE");
  if (!source.stop_ids.empty()) json["eos_token_id"] = stop_ids_json(source.stop_ids);
  fold_mup(source);
  std::deque<Storage> made;
  std::vector<NamedTensor> entries =
      checkpoint_entries(source.model->parameters(), huggingface_map(source.config), dtype, made, progress);
  write_shards(folder, entries, {{"format", "pt"}}, shard_bytes);
  write_tokenizer(source, folder);
  write_huggingface_extras(source, folder);
  write_file_atomically(folder / "config.json", json.dump(2) + "\n");
}

// Matrices in the type that was asked for; everything else in float32.
std::vector<GgufEntry> gguf_entries(std::vector<NamedTensor> tensors, GgufTensorType type) {
  std::vector<GgufEntry> entries;
  const bool blocks = type == GgufTensorType::q8_0 || type == GgufTensorType::q4_0;
  for (NamedTensor& named : tensors) {
    const Shape& shape = named.tensor.shape;
    if (blocks && shape.rank() == 2 && shape[1] % 32 != 0) {
      throw InputError({.what = "matrix whose rows are not whole blocks",
                        .where = named.name,
                        .got = shape.text(),
                        .expected = "rows of a multiple of 32",
                        .hint = "--type f16"});
    }
    GgufTensorType stored = shape.rank() == 2 ? type : GgufTensorType::f32;
    entries.push_back({std::move(named), stored});
  }
  return entries;
}

void write_gguf_file(SourceModel& source, const fs::path& file, WeightType type, const ConvertProgress& progress) {
  GgufTensorType stored = GgufTensorType::f32;
  for (const Type& known : kTypes) {
    if (known.type == type) stored = known.gguf;
  }
  const ModelConfig& c = source.config;
  std::vector<std::pair<std::string, GgufValue>> metadata = gguf_metadata(c, stored, "SOURCE");
  if (source.tokenizer.empty()) {
    metadata.emplace_back("tokenizer.ggml.model", GgufValue::string("no_vocab"));
  } else {
    Tokenizer tokenizer =
        Tokenizer::parse(source.tokenizer, source.tokenizer_name, tokenizer_format(source.tokenizer_name));
    auto about = gguf_tokenizer(tokenizer, c.vocab_size, c.bos_id >= 0, source.notes);
    metadata.insert(metadata.end(), about.begin(), about.end());
    auto id = [&](const char* key, int64_t value) {
      if (value >= 0) metadata.emplace_back(key, GgufValue::u32(static_cast<uint32_t>(value)));
    };
    id("tokenizer.ggml.bos_token_id", c.bos_id);
    id("tokenizer.ggml.eos_token_id", c.eos_id);
    // The ends of a turn and of a message, in Llama 3's order: a text's, a message's, a turn's.
    const std::vector<int32_t>& stops = source.stop_ids;
    if (stops.size() > 1) id("tokenizer.ggml.eot_token_id", stops[stops.size() > 2 ? 2 : 1]);
    if (stops.size() > 2) id("tokenizer.ggml.eom_token_id", stops[1]);
    note_lost_stop_ids(source, 3);
  }
  fold_mup(source);
  std::deque<Storage> made;
  std::vector<NamedTensor> tensors =
      checkpoint_entries(source.model->parameters(), gguf_map(c), DType::f32, made, progress);
  Storage divisors = gguf_rope_divisors(c);
  if (divisors.tensor().defined()) tensors.push_back({"rope_freqs.weight", divisors.tensor()});
  write_gguf(file, gguf_entries(std::move(tensors), stored), metadata);
}

int64_t bytes_of(const fs::path& path) {
  if (!fs::is_directory(path)) return static_cast<int64_t>(fs::file_size(path));
  int64_t bytes = 0;
  for (const auto& entry : fs::directory_iterator(path)) bytes += static_cast<int64_t>(entry.file_size());
  return bytes;
}

}  // namespace

std::string_view format_name(ModelFormat format) {
  for (const Format& known : kFormats) {
    if (known.format == format) return known.name;
  }
  return "?";
}

std::optional<ModelFormat> format_of(std::string_view name) {
  for (const Format& known : kFormats) {
    if (known.name == name) return known.format;
  }
  return std::nullopt;
}

std::string_view weight_type_name(WeightType type) {
  for (const Type& known : kTypes) {
    if (known.type == type) return known.name;
  }
  return "?";
}

std::optional<WeightType> weight_type_of(std::string_view name) {
  for (const Type& known : kTypes) {
    if (known.name == name) return known.type;
  }
  return std::nullopt;
}

ConvertSummary convert(const ConvertOptions& options, const ConvertProgress& progress) {
  ModelFormat from = options.from ? *options.from : detect_format(options.source);
  ModelFormat to = options.to ? *options.to : guess_target(options, from);
  Destination destination(options.destination, is_folder(to), options.overwrite);
  // Reading is the first half of the work, writing the second.
  SourceModel source = read_source(options, [&](double f, std::string_view name) { progress(f / 2, name); });
  auto writing = [&](double f, std::string_view name) { progress(0.5 + f / 2, name); };
  const fs::path& aside = destination.aside();
  switch (to) {
    case ModelFormat::tandem: write_tandem(source, aside, dtype_of(options.type, to), writing); break;
    case ModelFormat::authors: write_authors(source, aside, dtype_of(options.type, to), writing); break;
    case ModelFormat::huggingface:
      write_huggingface(source, aside, dtype_of(options.type, to), options.shard_bytes, writing);
      break;
    case ModelFormat::gguf: write_gguf_file(source, aside, options.type, writing); break;
  }
  ConvertSummary summary{.from = from,
                         .to = to,
                         .config = source.config,
                         .parameters = source.model->parameters().elements(),
                         .bytes = bytes_of(destination.aside()),
                         .tokenizer = source.tokenizer.empty() ? "" : source.tokenizer_name,
                         .notes = source.notes};
  destination.finish();
  return summary;
}

}  // namespace tandem
