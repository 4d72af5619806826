// The matrix products of a run, and who computes them fastest here.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "arch/model.h"
#include "train/product_choices.h"

namespace tandem {

struct PassProduct {
  Product form;
  int64_t times = 0;  // per pass
};

// The products of one pass over these packed rows, in the order in which they first come; nothing is computed. Sizes
// that differ from batch to batch (the sides of an encoder-decoder's rows) are those of this one.
std::vector<PassProduct> products_of_pass(Context& ctx, Model& model, Recompute recompute, const Batch& packed,
                                          Tape::Mode mode);

struct RunProducts {
  Context& ctx;
  Model& model;  // with gradients
  Recompute recompute = Recompute::none;
  std::function<Batch(int64_t rows)> rows;  // packed
  int64_t training_rows = 1;                // of a pass
  int64_t validation_rows = 0;              // 0: no validation
};
// Those of a training pass and of a validation pass.
std::vector<PassProduct> products_of_run(const RunProducts& run);

// Measures products that `choices` does not have yet (kernels::time_product) and adds them.
void measure_missing(Context& ctx, std::span<const PassProduct> products, ProductChoices& choices);

// The Gemm obeys them while it lives.
class ChosenProducts {
 public:
  // InputError for a product that has no such kernel here; `where` is the file that they are from.
  ChosenProducts(Gemm& gemm, const ProductChoices& choices, const std::string& where);
  ChosenProducts(const ChosenProducts&) = delete;
  ChosenProducts& operator=(const ChosenProducts&) = delete;
  ~ChosenProducts() { gemm_.forget_choices(); }

 private:
  Gemm& gemm_;
};

// products.json of a run folder, with all that the run needs: what is there and was measured under the same
// `surroundings` stays, the rest is measured now and written. Returns the file's text. `say` hears what was done.
// InputError for a file that to_json() has not written.
std::string keep_choices(const std::filesystem::path& file, const Surroundings& surroundings, const RunProducts& run,
                         const std::function<void(const std::string& line)>& say);

}  // namespace tandem
