#include "train/init.h"

#include <algorithm>
#include <array>
#include <optional>

#include "arch/model_folder.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/toml.h"
#include "formats/safetensors.h"
#include "text/extend_tokenizer.h"
#include "text/tokenizer.h"
#include "train/run_data.h"

namespace tandem {
namespace fs = std::filesystem;
namespace {

// Fields of a model that shape no parameter and not what they compute for a token: free to differ.
constexpr std::array kFree{"max_seq_len",    "boundaries",    "max_blocks",
                           "prompt_lengths", "noise_density", "mean_span_length"};

bool is_free(std::string_view field) { return std::find(kFree.begin(), kFree.end(), field) != kFree.end(); }

struct Inheritance {
  ModelConfig model;
  std::string tokenizer;  // path
};

// Makes room for tokens behind the tokenizer's: in rows that were padding, or before sentinels that stand there.
void extend_vocabulary(ModelConfig& model, const Tokenizer& tokenizer, const DataConfig& data) {
  auto added = static_cast<int64_t>(missing_tokens(tokenizer, wanted_tokens(data)).size());
  if (model.sentinel_start >= tokenizer.vocab_size()) {
    model.sentinel_start += added;
    model.vocab_size += added;
  } else {
    model.vocab_size = std::max(model.vocab_size, tokenizer.vocab_size() + added);
  }
}

Inheritance from_model(const RunConfig& config) {
  fs::path folder = find_init(config.init);
  Tokenizer tokenizer = Tokenizer::load_from_folder(folder);
  Inheritance out{.model = read_model_config(folder), .tokenizer = (folder / tokenizer.file_name()).string()};
  if (!config.data.tokenizer.empty() && Tokenizer::load(config.data.tokenizer).hash() != tokenizer.hash()) {
    throw InputError({.what = "another tokenizer than that of the model to begin with",
                      .where = "data.tokenizer",
                      .got = config.data.tokenizer,
                      .expected = out.tokenizer,
                      .hint = "leave data.tokenizer out: it comes with init"});
  }
  extend_vocabulary(out.model, tokenizer, config.data);
  return out;
}

// What an earlier start of this very run has written.
std::optional<Inheritance> from_run_folder(const RunConfig& config) {
  fs::path file = fs::path(config.output) / "config.toml";
  if (config.output.empty() || !fs::is_regular_file(file)) return std::nullopt;
  RunConfig stored;
  FieldList fields;
  list_fields(fields, stored);
  apply_toml(fields, file);
  if (stored.init != config.init) return std::nullopt;
  return Inheritance{stored.model, stored.data.tokenizer};
}

void inherit_fields(ModelConfig& model, const ModelConfig& source, const FieldList& given, const RunConfig& config,
                    const std::string& where) {
  ModelConfig copy = source;
  FieldList from, to;
  list_fields(from, copy);
  list_fields(to, model);
  for (const std::string& name : from.names()) {
    if (!given.was_set("model." + name)) {
      to.set(name, from.get(name), where);
    } else if (!is_free(name) && to.get(name) != from.get(name)) {
      throw InputError({.what = fmt::format("'model.{}' is not that of the model to begin with", name),
                        .where = where,
                        .got = to.get(name).dump(),
                        .expected = fmt::format("{}, as in {}", from.get(name).dump(), config.init),
                        .hint = "leave it out: with init the model's sizes are taken"});
    }
  }
}

bool is_real(const Tensor& t) { return t.dtype == DType::f32 || t.dtype == DType::bf16 || t.dtype == DType::f64; }

[[noreturn]] void does_not_fit(const Parameter& p, const Tensor& stored, const fs::path& file) {
  throw InputError({.what = "tensor does not fit the model",
                    .where = fmt::format("'{}' of {}", p.name(), file.string()),
                    .got = fmt::format("{} {}", dtype_name(stored.dtype), stored.shape.text()),
                    .expected = fmt::format("float32 {}", p.shape().text())});
}

}  // namespace

OrderedJson to_json(const Origin& o) {
  return {{"model", o.model},
          {"weights", o.weights},
          {"tokenizer", o.tokenizer},
          {"inherited_rows", o.inherited_rows},
          {"added_tokens", o.added_tokens}};
}

fs::path find_init(const std::string& init) {
  for (const fs::path& folder : {fs::path(init), fs::path(init) / "model"}) {
    if (fs::is_regular_file(folder / "config.json")) return folder;
  }
  throw InputError({.what = "no model to begin with",
                    .where = fmt::format("init = {}", init),
                    .got = fs::exists(init) ? "a folder without config.json" : "nothing there",
                    .expected = "a model folder, or the folder of a run that is finished"});
}

void inherit(RunConfig& config, const FieldList& given, const std::string& where) {
  if (config.init.empty()) return;
  std::optional<Inheritance> source = from_run_folder(config);
  if (!source) source = from_model(config);
  inherit_fields(config.model, source->model, given, config, where);
  if (config.data.tokenizer.empty()) config.data.tokenizer = source->tokenizer;
}

RunConfig load_run_config(const std::string& name, std::span<const std::string> overrides) {
  return read_run_config(name, overrides, inherit);
}

namespace {

// Rows [first, end) of a table that go to other places, `by` rows further on.
struct RowMove {
  int64_t first, end, by;
};

// What of the old table stays where it was and what moves. Rows of the added ids are fresh in every case: in the old
// table they were nobody's.
std::array<RowMove, 2> row_moves(int64_t old_rows, int64_t old_ids, int64_t added, int64_t shift) {
  if (added == 0) return {{{0, old_rows, 0}, {0, 0, 0}}};
  int64_t kept = std::min(old_ids, old_rows);
  int64_t behind = shift > 0 ? kept : std::min(old_ids + added, old_rows);
  return {{{0, kept, 0}, {behind, old_rows, shift}}};
}

}  // namespace

Origin begin_with(const fs::path& folder, const Tokenizer& tokenizer, Model& model, uint64_t seed) {
  fs::path file = folder / "model.safetensors";
  SafetensorsFile stored = SafetensorsFile::open(file);
  Tokenizer before = Tokenizer::load_from_folder(folder);
  int64_t shift = model.config().sentinel_start - read_model_config(folder).sentinel_start;
  Origin origin{
      .model = folder.string(), .weights = hex64(hash64(MappedFile(file).text())), .tokenizer = before.hash()};
  for (int32_t id = before.vocab_size(); id < tokenizer.vocab_size(); ++id) {
    origin.added_tokens.push_back(tokenizer.id_to_token(id));
  }
  ParameterStore& parameters = model.parameters();
  for (const std::string& name : stored.names()) {
    if (parameters.find(name)) continue;
    if (name.ends_with(".scales")) {
      throw InputError({.what = "quantised weights cannot be trained", .where = file.string(), .expected = "float32"});
    }
    throw InputError({.what = "tensor that the model does not have", .where = file.string(), .got = name});
  }
  parameters.initialise(seed);
  for (Parameter& p : parameters.all()) {
    Tensor from = stored.tensor(p.name());
    if (!is_real(from)) does_not_fit(p, from, file);
    if (p.group() != MupGroup::embedding) {
      if (!(from.shape == p.shape())) does_not_fit(p, from, file);
      copy_convert(p.master(), from);
      continue;
    }
    if (from.shape.rank() != 2 || from.shape[1] != p.shape()[1]) does_not_fit(p, from, file);
    auto added = static_cast<int64_t>(origin.added_tokens.size());
    origin.inherited_rows = 0;
    for (const RowMove& move : row_moves(from.shape[0], before.vocab_size(), added, shift)) {
      if (move.end + move.by > p.shape()[0]) does_not_fit(p, from, file);
      if (move.first >= move.end) continue;
      copy_convert(p.master().slice_rows(move.first + move.by, move.end + move.by),
                   from.slice_rows(move.first, move.end));
      origin.inherited_rows += move.end - move.first;
    }
  }
  parameters.refresh_compute();
  return origin;
}

}  // namespace tandem
