#include "train/measure_products.h"

#include <algorithm>

#include "base/error.h"
#include "train/memory.h"

namespace tandem {
namespace {

// While it lives, products leave their forms.
class NotedForms {
 public:
  explicit NotedForms(Gemm& gemm) : gemm_(gemm) { gemm_.note_forms(&forms_); }
  NotedForms(const NotedForms&) = delete;
  NotedForms& operator=(const NotedForms&) = delete;
  ~NotedForms() { gemm_.note_forms(nullptr); }

  const std::vector<Product>& forms() const { return forms_; }

 private:
  Gemm& gemm_;
  std::vector<Product> forms_;
};

void count(std::vector<PassProduct>& products, const Product& form, int64_t times) {
  auto found = std::find_if(products.begin(), products.end(), [&](const PassProduct& p) { return p.form == form; });
  if (found == products.end()) found = products.insert(found, {.form = form, .times = 0});
  found->times += times;
}

}  // namespace

std::vector<PassProduct> products_of_pass(Context& ctx, Model& model, Recompute recompute, const Batch& packed,
                                          Tape::Mode mode) {
  NotedForms noted(ctx.gemm());
  pass_memory(ctx, model, recompute, packed, mode);
  std::vector<PassProduct> products;
  for (const Product& form : noted.forms()) count(products, form, 1);
  return products;
}

std::vector<PassProduct> products_of_run(const RunProducts& run) {
  std::vector<PassProduct> products =
      products_of_pass(run.ctx, run.model, run.recompute, run.rows(run.training_rows), Tape::Mode::record);
  if (run.validation_rows == 0) return products;
  for (const PassProduct& p :
       products_of_pass(run.ctx, run.model, run.recompute, run.rows(run.validation_rows), Tape::Mode::no_grad)) {
    count(products, p.form, p.times);
  }
  return products;
}

void measure_missing(Context& ctx, std::span<const PassProduct> products, ProductChoices& choices) {
  for (const PassProduct& p : products) {
    if (choices.has(p.form)) continue;
    kernels::ProductTimes times = kernels::time_product(ctx, p.form);
    choices.list.push_back({.form = p.form, .times = times, .by = kernels::faster(ctx.isa(), p.form, times)});
  }
}

ChosenProducts::ChosenProducts(Gemm& gemm, const ProductChoices& choices, const std::string& where) : gemm_(gemm) {
  for (const ProductChoice& choice : choices.list) {
    if (gemm.has(choice.form, choice.by)) continue;
    throw InputError({.what = "no such kernel for a matrix product on this instruction set",
                      .where = where,
                      .got = fmt::format("'{}' with {} operands", name_of(choice.by), dtype_name(choice.form.operands)),
                      .hint = "without this file, products are measured again"});
  }
  for (const ProductChoice& choice : choices.list) gemm.choose(choice.form, choice.by);
}

int64_t unruly(Isa isa, const ProductChoices& choices) {
  return std::count_if(choices.list.begin(), choices.list.end(),
                       [&](const ProductChoice& c) { return (c.by == Gemm::By::own) != own_kernels(isa, c.form); });
}

}  // namespace tandem
