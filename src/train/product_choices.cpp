#include "train/product_choices.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "base/error.h"
#include "base/json.h"

namespace tandem {
namespace {

constexpr int64_t kLargest = int64_t{1} << 40;  // size or stride

// The numbers of a form, in the order and by the names in which they are written.
constexpr std::array<std::pair<const char*, int64_t Product::*>, 8> kNumbers{
    {{"m", &Product::m},
     {"n", &Product::n},
     {"k", &Product::k},
     {"a_row_stride", &Product::a_row_stride},
     {"a_column_stride", &Product::a_column_stride},
     {"b_row_stride", &Product::b_row_stride},
     {"b_column_stride", &Product::b_column_stride},
     {"c_row_stride", &Product::c_row_stride}}};

[[noreturn]] void refuse(const char* key, const std::string& where, std::string got, std::string expected) {
  throw InputError({.what = fmt::format("bad '{}'", key),
                    .where = where,
                    .got = std::move(got),
                    .expected = std::move(expected),
                    .hint = "without this file, products are measured again"});
}

DType type_from(const Json& json, const char* key, const std::string& where) {
  std::string name = json_string(json, key, where);
  for (DType type : {DType::f32, DType::bf16}) {
    if (name == dtype_name(type)) return type;
  }
  refuse(key, where, "'" + name + "'", fmt::format("{} or {}", dtype_name(DType::f32), dtype_name(DType::bf16)));
}

double seconds_from(const Json& json, const char* key, const std::string& where) {
  double seconds = json_number(json, key, where);
  if (!std::isfinite(seconds) || seconds < 0) refuse(key, where, fmt::format("{}", seconds), "seconds, 0 or more");
  return seconds;
}

OrderedJson to_json(const ProductChoice& choice) {
  OrderedJson json;
  for (auto [name, number] : kNumbers) json[name] = choice.form.*number;
  json["operands"] = dtype_name(choice.form.operands);
  json["result"] = dtype_name(choice.form.result);
  json["accumulate"] = choice.form.accumulate;
  json["by"] = name_of(choice.by);
  json["tandem_seconds"] = choice.times.own;
  json["onednn_seconds"] = choice.times.onednn;
  return json;
}

ProductChoice choice_from_json(const Json& json, const std::string& where) {
  ProductChoice choice;
  for (auto [name, number] : kNumbers) {
    int64_t value = json_int(json, name, where);
    if (value < 1 || value > kLargest) refuse(name, where, fmt::format("{}", value), "1 to 2^40");
    choice.form.*number = value;
  }
  choice.form.operands = type_from(json, "operands", where);
  choice.form.result = type_from(json, "result", where);
  choice.form.accumulate = json_bool(json, "accumulate", where);
  std::string by = json_string(json, "by", where);
  if (by != name_of(Gemm::By::own) && by != name_of(Gemm::By::onednn)) {
    refuse("by", where, "'" + by + "'", fmt::format("{} or {}", name_of(Gemm::By::own), name_of(Gemm::By::onednn)));
  }
  choice.by = by == name_of(Gemm::By::own) ? Gemm::By::own : Gemm::By::onednn;
  choice.times = {.own = seconds_from(json, "tandem_seconds", where),
                  .onednn = seconds_from(json, "onednn_seconds", where)};
  return choice;
}

}  // namespace

bool ProductChoices::has(const Product& form) const {
  return std::any_of(list.begin(), list.end(), [&](const ProductChoice& c) { return c.form == form; });
}

std::string name_of(Gemm::By by) { return by == Gemm::By::own ? "tandem" : "oneDNN"; }

OrderedJson to_json(const ProductChoices& choices) {
  OrderedJson json = to_json(choices.surroundings);
  json["products"] = OrderedJson::array();
  for (const ProductChoice& choice : choices.list) json["products"].push_back(to_json(choice));
  return json;
}

ProductChoices product_choices_from_json(const Json& json, const std::string& where) {
  ProductChoices choices{.surroundings = surroundings_from_json(json, where), .list = {}};
  const Json& list = json_at(json, "products", where);
  if (!list.is_array()) refuse("products", where, list.type_name(), "a list");
  for (const Json& item : list) {
    std::string place = fmt::format("product {} of {}", choices.list.size(), where);
    ProductChoice choice = choice_from_json(item, place);
    if (choices.has(choice.form)) refuse("products", place, "a form that is in the list already", "each form once");
    choices.list.push_back(choice);
  }
  return choices;
}

}  // namespace tandem
