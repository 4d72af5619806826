// The output projection, the softmax cross-entropy of its logits and the gradients of both as one op in bf16: logits
// live in a core's cache, a block of the vocabulary for a tile of tokens at a time, and what goes through memory is one
// bf16 number for each of them.
//
// The gradients do not wait for a row's log-sum-exp: with terms e[t, v] = 2^(multiplier log2(e) logit - level) and
// their sum S, dx = (sum over v of e W) / S - W[label] and dW = e^T (x / S) - (x at its label), so that the division
// falls on sums that are already formed, or on x (the online softmax of Milakov and Gimelshein 2018, carried to the
// gradients).
#pragma once

#include <span>

#include "kernels/context.h"

namespace tandem {
namespace cpu {
struct ProductKernels;
}

namespace kernels {

struct LinearCrossEntropy {
  Tensor x;                         // [T, d] bf16, d even
  Tensor weight;                    // [V, d] bf16
  std::span<const int32_t> labels;  // [T], 0..V-1 or kIgnoredLabel (kernels/cross_entropy.h)
  double multiplier = 1;            // logits are multiplied by this
  Tensor loss;                      // [T] f32, receives -log p[label], 0 where ignored
  // The gradients of the sum of the losses.
  Tensor dx;       // [T, d] f32 or bf16, overwritten; 0 where ignored
  Tensor dweight;  // [V, d] f32, added to; or undefined
};

// Whether the instruction set has what it takes (products of bf16) and the operands are of these types.
bool has_linear_cross_entropy(Context& ctx, const Tensor& x, const Tensor& weight, const Tensor& dweight);

// Terms are rounded to bf16, and so is x / S. The same bits for any number of threads. LogicError where there is no
// such op.
void linear_cross_entropy(Context& ctx, const LinearCrossEntropy& op);
// By other products than the context's, for tests.
void linear_cross_entropy(Context& ctx, const LinearCrossEntropy& op, const cpu::ProductKernels& products);

}  // namespace kernels
}  // namespace tandem
