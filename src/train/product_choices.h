// Who computes the matrix products of a run that asks for measured choices, by the form of the product: what a run
// folder keeps as products.json, so that a run that is resumed computes what it computed before, to the same bits.
#pragma once

#include <string>
#include <vector>

#include "base/json_fwd.h"
#include "kernels/product_timing.h"
#include "train/run_state.h"

namespace tandem {

struct ProductChoice {
  Product form;
  kernels::ProductTimes times;
  Gemm::By by = Gemm::By::onednn;
};

struct ProductChoices {
  Surroundings surroundings;  // where they were measured
  std::vector<ProductChoice> list;

  bool has(const Product& form) const;
};

// "tandem" or "oneDNN".
std::string name_of(Gemm::By by);

// Of forms, their sizes, strides and types, who computes them, and the seconds that each side took.
OrderedJson to_json(const ProductChoices& choices);
// InputError for what to_json() does not write.
ProductChoices product_choices_from_json(const Json& json, const std::string& where);

}  // namespace tandem
