#include "arch/write_cycle.h"

namespace tandem {

WriteCycle write_cycle(const ModelConfig& config, int64_t tokens) {
  if (config.arch != Arch::block_transformer) return {};
  BlockSizes sizes = block_sizes(config);
  // The token that is written last before a block's first one opens that block.
  int64_t offset = (tokens + 1 + sizes.first_pads) % sizes.length;
  return {sizes.length, (sizes.length - offset) % sizes.length};
}

}  // namespace tandem
