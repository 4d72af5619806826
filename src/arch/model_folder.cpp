#include "arch/model_folder.h"

#include <deque>
#include <vector>

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

namespace {

constexpr const char* kWeightsKey = "weights";  // of the file's metadata: the format of its matrices
constexpr const char* kScales = ".scales";

using kernels::StoredWeight;
using kernels::WeightFormat;

bool quantised(WeightFormat format) { return format == WeightFormat::int8 || format == WeightFormat::int4; }

// The format of a file's matrices; f32 where it says nothing.
WeightFormat stored_format(const SafetensorsFile& file) {
  auto found = file.metadata().find(kWeightsKey);
  if (found == file.metadata().end()) return WeightFormat::f32;
  for (WeightFormat format : {WeightFormat::f32, WeightFormat::bf16, WeightFormat::int8, WeightFormat::int4}) {
    if (weight_format_name(format) == found->second) return format;
  }
  throw InputError({.what = "weights in a format that is not known",
                    .where = file.path().string(),
                    .got = "'" + found->second + "'",
                    .expected = "f32, bf16, int8 or int4"});
}

bool stored_quantised(const SafetensorsFile& file, const Parameter& p) {
  return ParameterStore::packs(p) && quantised(stored_format(file));
}

[[noreturn]] void does_not_fit(const SafetensorsFile& file, const std::string& name, const Tensor& got,
                               const std::string& expected) {
  throw InputError({.what = "tensor does not fit the model",
                    .where = fmt::format("'{}' of {}", name, file.path().string()),
                    .got = fmt::format("{} {}", dtype_name(got.dtype), got.shape.text()),
                    .expected = expected});
}

void check_names(const SafetensorsFile& file, ParameterStore& parameters) {
  for (const std::string& name : file.names()) {
    const Parameter* p = parameters.find(name);
    if (!p && name.ends_with(kScales)) {
      p = parameters.find(std::string_view(name).substr(0, name.size() - std::string_view(kScales).size()));
      if (p && stored_quantised(file, *p)) continue;
      p = nullptr;
    }
    if (p) continue;
    throw InputError({.what = "tensor that the model does not have",
                      .where = file.path().string(),
                      .got = "'" + name + "'",
                      .hint = "do config.json and model.safetensors belong together?"});
  }
}

Tensor stored_tensor(const SafetensorsFile& file, const std::string& name, DType dtype, const Shape& shape) {
  Tensor stored = file.tensor(name);
  if (stored.dtype == dtype && stored.shape == shape) return stored;
  does_not_fit(file, name, stored, fmt::format("{} {}", dtype_name(dtype), shape.text()));
}

void read_quantised(const SafetensorsFile& file, ParameterStore& parameters, Parameter& p) {
  const WeightFormat format = stored_format(file);
  if (p.grad().defined()) {
    throw InputError({.what = "quantised weights cannot be trained",
                      .where = file.path().string(),
                      .got = std::string(weight_format_name(format)),
                      .expected = "f32 or bf16"});
  }
  const int64_t outputs = p.shape()[0], inputs = p.shape()[1];
  StoredWeight stored{
      stored_tensor(file, p.name(), DType::u8, steps_shape(format, outputs, inputs)),
      stored_tensor(file, p.name() + kScales, scales_dtype(format), scales_shape(format, outputs, inputs))};
  std::string where = fmt::format("'{}' of {}", p.name(), file.path().string());
  parameters.adopt(p, pack_steps(stored, format, inputs, where));
}

}  // namespace

void read_parameters(const fs::path& path, ParameterStore& parameters) {
  SafetensorsFile file = SafetensorsFile::open(path);
  check_names(file, parameters);
  for (Parameter& p : parameters.all()) {
    if (stored_quantised(file, p)) {
      read_quantised(file, parameters, p);
      continue;
    }
    Tensor stored = file.tensor(p.name());
    bool real = stored.dtype == DType::f32 || stored.dtype == DType::bf16 || stored.dtype == DType::f64;
    if (!(stored.shape == p.shape()) || !real) {
      does_not_fit(file, p.name(), stored, fmt::format("float32 {}", p.shape().text()));
    }
    copy_convert(p.master(), stored);
  }
  parameters.refresh_compute();
}

namespace {

// Everything but the weights; config.json last.
void save_beside_weights(const fs::path& folder, const Model& model, const std::string& tokenizer,
                         const std::string& tokenizer_name) {
  if (!tokenizer.empty()) write_file_atomically(folder / tokenizer_name, tokenizer);
  ModelConfig config = model.config();
  FieldList fields;
  list_fields(fields, config);
  write_file_atomically(folder / "config.json", fields.to_json().dump(2) + "\n");
}

// One parameter as it is packed; what is made for the file lives in `made`.
void add_packed(std::vector<SafetensorsEntry>& entries, std::deque<Storage>& made, const Parameter& p) {
  const kernels::PackedWeight& packed = p.packed();
  auto make = [&](DType dtype, const Shape& shape) { return made.emplace_back(dtype, shape).tensor(); };
  if (!packed.defined()) {
    if (ParameterStore::packs(p)) throw LogicError({.what = "not packed", .where = p.name()});
    entries.push_back({p.name(), p.master()});
  } else if (!quantised(packed.format())) {
    Tensor values = make(packed.format() == WeightFormat::bf16 ? DType::bf16 : DType::f32, p.shape());
    for (int64_t n = 0; n < values.rows(); ++n) {
      for (int64_t k = 0; k < values.row_size(); ++k) store_element(values, n, k, packed.element(n, k));
    }
    entries.push_back({p.name(), values});
  } else {
    StoredWeight stored{
        make(DType::u8, steps_shape(packed.format(), packed.outputs(), packed.inputs())),
        make(scales_dtype(packed.format()), scales_shape(packed.format(), packed.outputs(), packed.inputs()))};
    unpack_steps(packed, stored);
    entries.push_back({p.name(), stored.steps});
    entries.push_back({p.name() + kScales, stored.scales});
  }
}

}  // namespace

void save_packed_model(const fs::path& folder, const Model& model, const std::string& tokenizer,
                       const std::string& tokenizer_name) {
  create_folder(folder);
  std::vector<SafetensorsEntry> entries;
  std::deque<Storage> made;
  WeightFormat format = WeightFormat::f32;
  for (const Parameter& p : model.parameters().all()) {
    add_packed(entries, made, p);
    if (p.packed().defined()) format = p.packed().format();
  }
  write_safetensors(folder / "model.safetensors", entries,
                    {{"format", "tandem"}, {kWeightsKey, std::string(weight_format_name(format))}});
  save_beside_weights(folder, model, tokenizer, tokenizer_name);
}

void save_model(const fs::path& folder, const Model& model, const std::string& tokenizer,
                const std::string& tokenizer_name) {
  create_folder(folder);
  write_parameters(folder / "model.safetensors", model.parameters());
  save_beside_weights(folder, model, tokenizer, tokenizer_name);
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
