// The function table of one instruction set. Every cpu/<op>.h declares the functions of one op as a small struct of
// pointers, every cpu/<op>.cpp defines them once per instruction set, and cpu/table.cpp joins them.
//
// What cpu/*.cpp may use: intrinsics, simd.h and plain C++ over raw pointers. No containers, algorithms or inline
// functions of headers shared with other files: compiled here they would hold AVX-512 code, and the linker might pick
// that copy for the whole program (scripts/check-isa-symbols watches over this).
#pragma once

#include "kernels/cpu/adamw.h"
#include "kernels/cpu/bias.h"
#include "kernels/cpu/cross_entropy.h"
#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/gated_norm.h"
#include "kernels/cpu/gated_retention.h"
#include "kernels/cpu/gelu.h"
#include "kernels/cpu/layernorm.h"
#include "kernels/cpu/linear_cross_entropy.h"
#include "kernels/cpu/lse_gate.h"
#include "kernels/cpu/packed_matmul.h"
#include "kernels/cpu/peak.h"
#include "kernels/cpu/product.h"
#include "kernels/cpu/relu.h"
#include "kernels/cpu/rmsnorm.h"
#include "kernels/cpu/rope.h"
#include "kernels/cpu/span_attention.h"
#include "kernels/cpu/swiglu.h"

namespace tandem {
enum class Isa;
}

namespace tandem::cpu {

struct Kernels {
  const AdamWKernels& adamw;
  const BiasKernels& bias;
  const CrossEntropyKernels& cross_entropy;
  const ElementwiseKernels& elementwise;
  const GatedNormKernels& gated_norm;
  const GatedRetentionKernels& gated_retention;
  const GeluKernels& gelu;
  const LayerNormKernels& layernorm;
  const LinearCrossEntropyKernels& linear_cross_entropy;
  const LseGateKernels& lse_gate;
  const PackedMatmulKernels& packed_matmul;
  const PeakKernels& peak;
  const ProductTypes& product;
  const ReluKernels& relu;
  const RmsNormKernels& rmsnorm;
  const RopeKernels& rope;
  const SpanAttentionKernels& span_attention;
  const SwigluKernels& swiglu;
};

namespace avx2 {
extern const Kernels kKernels;
}
namespace avx512 {
extern const Kernels kKernels;
}
namespace avx512_bf16 {
extern const Kernels kKernels;
}

// What uses tiles; everything else is as for avx512_bf16.
namespace amx {
extern const ProductKernels kBf16Product;
SpanAttentionKernels with_tiles(const SpanAttentionKernels& kernels);  // for avx512_bf16's; to be called there only
}  // namespace amx

const Kernels& table(Isa isa);
ProductTypes products(Isa isa);
const SpanAttentionKernels& span_attention(Isa isa);

}  // namespace tandem::cpu
