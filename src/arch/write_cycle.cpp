#include "arch/write_cycle.h"

namespace tandem {

WriteCycle write_cycle(const ModelConfig& config, int64_t tokens) {
  if (config.arch != Arch::block_transformer) return {};
  BlockSizes sizes = block_sizes(config);
  // The token that is written last before a block's first one opens that block.
  int64_t offset = (tokens + 1 + sizes.first_pads) % sizes.length;
  return {sizes.length, (sizes.length - offset) % sizes.length};
}

double cache_bytes_read(const Model& model, const State& state) {
  const ModelConfig& config = model.config();
  auto all = static_cast<double>(state.token_bytes().live);
  if (config.arch != Arch::block_transformer || write_cycle(config, state.length() - 1).until == 0) return all;
  BlockSizes sizes = block_sizes(config);
  int64_t complete = (state.length() + sizes.first_pads) / sizes.length;
  return all - static_cast<double>(complete * sizes.length) * model.costs().cache_bytes_per_token;
}

}  // namespace tandem
