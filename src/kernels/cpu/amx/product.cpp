// Products of bf16 matrices by the processor's tiles.
#include "kernels/cpu/amx/tiles.h"
#include "kernels/cpu/kernels.h"
#include "kernels/cpu/tile_product.h"

namespace tandem::cpu::amx {

const ProductKernels kBf16Product = tile_kernels<Tiles>();

}  // namespace tandem::cpu::amx
