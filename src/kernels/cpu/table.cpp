#include "kernels/cpu/kernels.h"

namespace tandem::cpu::TANDEM_ISA_NAMESPACE {

extern const AdamWKernels kAdamW;
extern const BiasKernels kBias;
extern const CrossEntropyKernels kCrossEntropy;
extern const ElementwiseKernels kElementwise;
extern const GatedNormKernels kGatedNorm;
extern const GatedRetentionKernels kGatedRetention;
extern const GeluKernels kGelu;
extern const LayerNormKernels kLayerNorm;
extern const LinearCrossEntropyKernels kLinearCrossEntropy;
extern const LseGateKernels kLseGate;
extern const PackedMatmulKernels kPackedMatmul;
extern const PeakKernels kPeak;
extern const ProductTypes kProduct;
extern const ReluKernels kRelu;
extern const RmsNormKernels kRmsNorm;
extern const RopeKernels kRope;
extern const SpanAttentionKernels kSpanAttention;
extern const SwigluKernels kSwiglu;

// References to constants: the table is built by the linker, before any code runs.
const Kernels kKernels = {
    .adamw = kAdamW,
    .bias = kBias,
    .cross_entropy = kCrossEntropy,
    .elementwise = kElementwise,
    .gated_norm = kGatedNorm,
    .gated_retention = kGatedRetention,
    .gelu = kGelu,
    .layernorm = kLayerNorm,
    .linear_cross_entropy = kLinearCrossEntropy,
    .lse_gate = kLseGate,
    .packed_matmul = kPackedMatmul,
    .peak = kPeak,
    .product = kProduct,
    .relu = kRelu,
    .rmsnorm = kRmsNorm,
    .rope = kRope,
    .span_attention = kSpanAttention,
    .swiglu = kSwiglu,
};

}  // namespace tandem::cpu::TANDEM_ISA_NAMESPACE
