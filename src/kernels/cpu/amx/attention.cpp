// Span attention by the processor's tiles.
#include "kernels/cpu/amx/tiles.h"
#include "kernels/cpu/kernels.h"
#include "kernels/cpu/tile_attention.h"

namespace tandem::cpu::amx {

SpanAttentionKernels with_tiles(const SpanAttentionKernels& kernels) { return attention_by_tiles<Tiles>(kernels); }

}  // namespace tandem::cpu::amx
