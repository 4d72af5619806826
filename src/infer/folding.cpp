#include "infer/folding.h"

#include "cache/page_pool.h"
#include "infer/generation.h"

namespace tandem {

FoldCosts fold_costs(const Model& model) {
  FoldCosts costs;
  costs.read_bytes = model.costs().cache_bytes_per_token;
  costs.read_flops = model.costs().flops_per_prompt_token;
  auto type = static_cast<double>(dtype_bytes(model.parameters().precision().activation));
  for (const Parameter& each : model.parameters().all()) {
    costs.weight_bytes += type * model.pass_share(PassKind::read, each) * static_cast<double>(each.shape().elements());
  }
  // Two pages more of what is written, in caches of their own.
  std::unique_ptr<Caches> caches = model.new_caches({.tokens = 4 * kPageTokens});
  std::unique_ptr<State> state = model.new_state(*caches);
  state->reserve_write(kPageTokens);
  int64_t before = caches->bytes_in_use();
  state->reserve_write(3 * kPageTokens);
  costs.written_bytes = static_cast<double>(caches->bytes_in_use() - before) / (2 * kPageTokens);
  return costs;
}

int64_t fold_by_cost(const FoldCosts& costs, int64_t tokens) {
  double saved_per_key = costs.written_bytes - costs.read_bytes, read = costs.read_flops / kFlopsPerByte;
  int64_t best = kNeverFold;
  double most_saved = 0;
  for (int64_t block = kPageTokens; block < tokens && saved_per_key > 0; block += kPageTokens) {
    double saved = 0;
    for (int64_t written = block; written < tokens; written += block) {
      saved += static_cast<double>(block) * (saved_per_key * static_cast<double>(tokens - written) - read);
      saved -= costs.weight_bytes;
    }
    if (saved <= most_saved) continue;
    most_saved = saved;
    best = block;
  }
  return best;
}

}  // namespace tandem
