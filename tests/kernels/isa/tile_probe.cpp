#include "kernels/isa/tile_probe.h"

#include "kernels/cpu/tile_attention.h"
#include "kernels/cpu/tile_product.h"
#include "kernels/emulated_tiles.h"

namespace tandem::cpu::TANDEM_ISA_NAMESPACE {

#if defined(__AVX512F__)
namespace {

using testing::EmulatedTiles;

struct Tiles {
  static void configure(const TileConfig& config) { EmulatedTiles::configure(&config); }
  static void release() { EmulatedTiles::release(); }
  template <int t>
  static void zero() {
    EmulatedTiles::zero(t);
  }
  template <int t>
  static void load(const void* from, int64_t stride) {
    EmulatedTiles::load(t, from, stride);
  }
  template <int t>
  static void store(void* to, int64_t stride) {
    EmulatedTiles::store(t, to, stride);
  }
  template <int sum, int a, int b>
  static void multiply() {
    EmulatedTiles::multiply(sum, a, b);
  }
};

}  // namespace

const ProductKernels kEmulatedTileProduct = tile_kernels<Tiles>();
#if defined(__AVX512BF16__)
SpanAttentionKernels with_emulated_tiles(const SpanAttentionKernels& kernels) {
  return attention_by_tiles<Tiles>(kernels);
}
#endif
#else
const ProductKernels kEmulatedTileProduct = {};
#endif

}  // namespace tandem::cpu::TANDEM_ISA_NAMESPACE
