// The products by tiles of kernels/cpu/tile_product.h and tile_attention.h on emulated tiles, for every instruction set
// that packs for them.
#pragma once

#include "kernels/cpu/product.h"
#include "kernels/cpu/span_attention.h"

namespace tandem::cpu {

namespace avx2 {
extern const ProductKernels kEmulatedTileProduct;  // multiply is null
}
namespace avx512 {
extern const ProductKernels kEmulatedTileProduct;
}
namespace avx512_bf16 {
extern const ProductKernels kEmulatedTileProduct;
SpanAttentionKernels with_emulated_tiles(const SpanAttentionKernels& kernels);  // of the same instruction set
}  // namespace avx512_bf16

}  // namespace tandem::cpu
