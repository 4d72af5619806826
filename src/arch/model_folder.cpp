#include "arch/model_folder.h"

#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "formats/safetensors.h"

namespace tandem {
namespace fs = std::filesystem;

void write_parameters(const fs::path& file, const ParameterStore& parameters) {
  std::vector<SafetensorsEntry> entries;
  for (const Parameter& p : parameters.all()) entries.push_back({p.name(), p.master()});
  write_safetensors(file, entries, {{"format", "tandem"}});
}

void read_parameters(const fs::path& path, ParameterStore& parameters) {
  SafetensorsFile file = SafetensorsFile::open(path);
  for (const std::string& name : file.names()) {
    if (!parameters.find(name)) {
      throw InputError({.what = "tensor that the model does not have",
                        .where = path.string(),
                        .got = "'" + name + "'",
                        .hint = "do config.json and model.safetensors belong together?"});
    }
  }
  for (Parameter& p : parameters.all()) {
    Tensor stored = file.tensor(p.name());
    bool real = stored.dtype == DType::f32 || stored.dtype == DType::bf16 || stored.dtype == DType::f64;
    if (!(stored.shape == p.shape()) || !real) {
      throw InputError({.what = "tensor does not fit the model",
                        .where = fmt::format("'{}' of {}", p.name(), path.string()),
                        .got = fmt::format("{} {}", dtype_name(stored.dtype), stored.shape.text()),
                        .expected = fmt::format("float32 {}", p.shape().text())});
    }
    copy_convert(p.master(), stored);
  }
  parameters.refresh_compute();
}

void save_model(const fs::path& folder, const Model& model, const std::string& tokenizer,
                const std::string& tokenizer_name) {
  create_folder(folder);
  write_parameters(folder / "model.safetensors", model.parameters());
  if (!tokenizer.empty()) write_file_atomically(folder / tokenizer_name, tokenizer);
  ModelConfig config = model.config();
  FieldList fields;
  list_fields(fields, config);
  write_file_atomically(folder / "config.json", fields.to_json().dump(2) + "\n");
}

ModelConfig read_model_config(const fs::path& folder) {
  if (!fs::is_directory(folder)) {
    throw InputError({.what = "not a model folder",
                      .where = folder.string(),
                      .got = fs::exists(folder) ? "a file" : "nothing there",
                      .expected = "a folder with config.json, model.safetensors and a tokenizer"});
  }
  fs::path file = folder / "config.json";
  ModelConfig config;
  FieldList fields;
  list_fields(fields, config);
  Json json = read_json(file);
  json_at(json, "arch", file.string());
  fields.apply(json, file.string());
  config.validate(file.string());
  return config;
}

std::unique_ptr<Model> load_model(const fs::path& folder, const Precision& precision,
                                  ParameterStore::Gradients gradients) {
  return load_model(folder, read_model_config(folder), precision, gradients);
}

std::unique_ptr<Model> load_model(const fs::path& folder, const ModelConfig& config, const Precision& precision,
                                  ParameterStore::Gradients gradients) {
  std::unique_ptr<Model> model = make_model(config, precision, gradients, (folder / "config.json").string());
  read_parameters(folder / "model.safetensors", model->parameters());
  return model;
}

}  // namespace tandem
