// Run configs (TOML and overrides), config.json of a model folder, products.json of a run folder.
#include <cstdlib>
#include <string>
#include <vector>

#include "arch/config.h"
#include "base/error.h"
#include "base/json.h"
#include "base/toml.h"
#include "targets.h"
#include "temporary_file.h"
#include "train/product_choices.h"
#include "train/run_config.h"

namespace tandem::fuzz {
namespace {

// Lines behind a zero byte are overrides.
std::vector<std::string> split_overrides(std::string_view& toml) {
  std::vector<std::string> overrides;
  size_t zero = toml.find('\0');
  if (zero == std::string_view::npos) return overrides;
  std::string_view rest = toml.substr(zero + 1);
  toml = toml.substr(0, zero);
  while (!rest.empty()) {
    size_t end = std::min(rest.find('\n'), rest.size());
    overrides.emplace_back(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return overrides;
}

}  // namespace

void run_config(std::string_view bytes) {
  static const TemporaryFile file("run.toml");
  static const TemporaryFile written("written.toml");
  std::vector<std::string> overrides = split_overrides(bytes);
  file.write(bytes);
  RunConfig config;
  try {
    config = read_run_config(file.path(), overrides);
  } catch (const InputError&) {
    return;
  }
  // What a run folder keeps is the same config again.
  written.write(to_toml(config));
  if (!first_difference(config, read_run_config(written.path(), {})).empty()) std::abort();
  try {
    if (total_steps(config, 1000000) < 0) std::abort();
  } catch (const InputError&) {
  }
  try {
    resolve_model(config, 1000).validate("run.toml");
  } catch (const InputError&) {
  }
}

void model_config(std::string_view bytes) {
  try {
    ModelConfig config;
    FieldList fields;
    list_fields(fields, config);
    fields.apply(parse_json(bytes, "config.json"), "config.json");
    config.validate("config.json");
    // What is written into a model folder is the same config again.
    ModelConfig again;
    FieldList again_fields;
    list_fields(again_fields, again);
    again_fields.apply(parse_json(fields.to_json().dump(), "config.json"), "config.json");
    if (again_fields.to_json() != fields.to_json()) std::abort();
  } catch (const InputError&) {
  }
}

void product_choices(std::string_view bytes) {
  const std::string where = "products.json";
  try {
    ProductChoices choices = product_choices_from_json(parse_json(bytes, where), where);
    std::string written = to_json(choices).dump();
    if (to_json(product_choices_from_json(parse_json(written, where), where)).dump() != written) std::abort();
  } catch (const InputError&) {
  }
}

}  // namespace tandem::fuzz
