// Problems for the tests of span attention: plans, operands in guard zones, and error bounds computed from the
// operands.
#pragma once

#include <deque>
#include <vector>

#include "kernels/compare.h"
#include "kernels/guarded.h"
#include "kernels/span_attention.h"

namespace tandem::testing {

using kernels::KeyValueGradient;
using kernels::KeyValueSource;

struct AttentionCase {
  SpanPlan plan;
  int64_t queries = 0;
  std::vector<int64_t> keys;  // of each source
  int64_t heads = 1;
  int64_t key_heads = 1;
  int64_t head_size = 16;
  double scale = 0.25;
};

// Rows of `length` tokens one after another; every token sees its row up to itself.
AttentionCase causal_case(int64_t rows, int64_t length);
// Source 0: the query's own block, causally. Source 1: all of its row before the block, or row key 0 in the first
// block.
AttentionCase block_case(int64_t rows, int64_t length, int64_t block);
// Source 0: the first key of the row and the latest `window` keys.
AttentionCase window_case(int64_t rows, int64_t length, int64_t window);
// Few queries at the end of caches.
AttentionCase decode_case(int64_t queries, int64_t memory, int64_t own);
// One query for each of several caches of different lengths that lie one after another.
AttentionCase batch_decode_case(int64_t requests, int64_t longest);
// Runs of random lengths over two or three sources, with random spans of every kind; some queries see nothing.
AttentionCase random_case(uint64_t seed);

// A run of more spans than a tile of several runs may have, as the pages of a paged cache.
AttentionCase many_spans_case();

// Calls check(problem, heads, key_heads, head_size, by_source) for plans of blocks, windows, grouped queries, each
// source's log-sum-exp and many spans, at two head sizes.
template <class Check>
void check_plan_families(int64_t head_size, int64_t larger_head_size, const Check& check) {
  for (int64_t block : {1, 4, 30, 64, 90, 200}) {
    SCOPED_TRACE(::testing::Message() << "blocks of " << block);
    check(block_case(2, 140, block), 2, 1, head_size, false);
  }
  for (int64_t block : {4, 30}) {
    SCOPED_TRACE(::testing::Message() << "log-sum-exp of each source, blocks of " << block);
    check(block_case(2, 70, block), 2, 2, head_size, true);
  }
  for (int64_t window : {1, 20, 70}) {
    SCOPED_TRACE(::testing::Message() << "sink and window of " << window);
    check(window_case(2, 130, window), 1, 1, head_size, false);
  }
  SCOPED_TRACE("grouped queries, many spans");
  check(causal_case(1, 100), 6, 2, head_size, false);
  check(block_case(1, 100, 30), 4, 1, larger_head_size, true);
  check(many_spans_case(), 1, 1, head_size, false);
}

// Operands and results of one case. Queries, keys and values of source 0 are columns of wider rows.
class AttentionRun {
 public:
  AttentionRun(const AttentionCase& problem, DType dtype, DType gradient_dtype, uint64_t seed, bool by_source);

  // Operands as in `from`, exactly; for the reference.
  AttentionRun(const AttentionRun& from, DType dtype, DType gradient_dtype);

  void forward(Context& ctx);
  // Reads o, lse and source_lse as they are.
  void backward(Context& ctx, bool accumulate = false);
  bool intact() const;
  bool same_results(const AttentionRun& other) const;

  const AttentionCase& problem() const { return problem_; }

  const cpu::SpanAttentionKernels* by = nullptr;  // null: those for the context's instruction set
  Guarded q, o, d_o, dq;
  Guarded lse, source_lse, d_source_lse;
  std::deque<Guarded> k, v, dk, dv;

 private:
  std::vector<KeyValueSource> sources() const;
  AttentionCase problem_;
  bool by_source_;
};

// What the results of a kernel may differ by from those of the reference, by element. With u the rounding of an f32
// operation: scores err by (D + 6) u scale |q| |k|, probabilities by that plus the error of 2^x and of the log-sum-exp,
// sums of n terms by (n + 8) u of the terms' magnitudes; a bf16 operand of a second product may round the other way,
// which is 2^-8 of it.
struct AttentionBounds {
  AttentionBounds(const AttentionRun& reference, bool is_bf16);

  struct Matrix {
    int64_t width = 0;
    std::vector<double> data;
    double at(int64_t r, int64_t i) const { return data[static_cast<size_t>(r * width + i)]; }
    double& at(int64_t r, int64_t i) { return data[static_cast<size_t>(r * width + i)]; }
  };
  Matrix o, lse, source_lse, dq;
  std::vector<Matrix> dk, dv;
};

// Forward and backward of one case against the reference. Both gradients start from the reference's forward results,
// rounded to the types of the kernel's.
void check_attention(const AttentionCase& problem, DType dtype, DType gradient_dtype, bool by_source, uint64_t seed = 1,
                     const cpu::SpanAttentionKernels* by = nullptr);

}  // namespace tandem::testing
