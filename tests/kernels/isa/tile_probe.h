// The products by tiles of kernels/cpu/tile_product.h on emulated tiles, for every instruction set that packs for them.
#pragma once

#include "kernels/cpu/product.h"

namespace tandem::cpu {

namespace avx2 {
extern const ProductKernels kEmulatedTileProduct;  // multiply is null
}
namespace avx512 {
extern const ProductKernels kEmulatedTileProduct;
}
namespace avx512_bf16 {
extern const ProductKernels kEmulatedTileProduct;
}

}  // namespace tandem::cpu
