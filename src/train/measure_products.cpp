#include "train/measure_products.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
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

namespace {

// How many own_kernels() would have decided otherwise.
int64_t against_the_rule(Isa isa, const ProductChoices& choices) {
  return std::count_if(choices.list.begin(), choices.list.end(),
                       [&](const ProductChoice& c) { return (c.by == Gemm::By::own) != own_kernels(isa, c.form); });
}

}  // namespace

std::string keep_choices(const std::filesystem::path& file, const Surroundings& surroundings, const RunProducts& run,
                         const std::function<void(const std::string& line)>& say) {
  ProductChoices choices{.surroundings = surroundings, .list = {}};
  if (std::filesystem::exists(file)) {
    ProductChoices before = product_choices_from_json(read_json(file), file.string());
    const std::string other = differences(before.surroundings, surroundings);
    if (other.empty()) {
      choices = std::move(before);
    } else {
      say(fmt::format("matrix products are measured again: {}", other));
    }
  }
  const size_t known = choices.list.size();
  measure_missing(run.ctx, products_of_run(run), choices);
  std::string text = to_json(choices).dump(2) + "\n";
  if (choices.list.size() == known) return text;
  write_file_atomically(file, text);
  say(fmt::format("{} matrix products measured, {} of all {} are computed otherwise than by the rule",
                  choices.list.size() - known, against_the_rule(run.ctx.isa(), choices), choices.list.size()));
  return text;
}

}  // namespace tandem
