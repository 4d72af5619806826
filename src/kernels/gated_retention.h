// Gated retention (Sun et al. 2024, "You Only Cache Once"; Yang et al. 2023 for gated linear attention): a linear
// attention whose state, a matrix [D, D] per head, decays by a factor that the token chooses:
//   S_t = exp(a_t) S_(t-1) + scale k_t^T v_t,   o_t = q_t S_t,   a_t <= 0 the token's log decay of that head.
// A token's own key and value enter undecayed.
//
// Sequences are cut into tiles of kRetentionTile tokens that begin at the sequence's own start. With S the state before
// a tile and G_t the sum of the decays of its tokens up to t,
//   o_t = exp(G_t) q_t S + scale sum_(j <= t) (q_t . k_j) exp(G_t - G_j) v_j,
//   S behind = exp(G_last) S + scale sum_j exp(G_last - G_j) k_j^T v_j.
// A token's result depends on the state before its tile and on the tile's tokens up to itself, in an order that does
// not depend on what else is in the pass: how a sequence is cut into passes does not change a bit, as long as passes of
// one order (by_tile, by_query) are compared.
//
// Sums, decays and states are f32; nothing is rounded to bf16 on the way. D is even and at most 256.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/context.h"
#include "kernels/span_plan.h"

namespace tandem {

inline constexpr int64_t kRetentionTile = 64;

// Tokens of one sequence from a multiple of kRetentionTile on. Some of them are queries of the pass.
struct RetentionTile {
  static constexpr int64_t kNone = -1;

  int64_t keys = 0;         // row of its first token in k, v and log_decay
  int64_t tokens = 0;       // 1..kRetentionTile; those up to the last query at least
  int64_t query_row = 0;    // row of its first query in q and o
  int64_t first_query = 0;  // the queries are the tile's tokens [first_query, first_query + queries)
  int64_t queries = 0;
  int64_t before = kNone;  // index of the state before the tile; none: it begins the sequence
  int64_t behind = kNone;  // where the state behind its tokens goes; none: nobody wants it
};

struct RetentionPlan {
  QueryOrder order = QueryOrder::by_tile;  // or by_query: each query by itself, for passes with few of them
  std::vector<RetentionTile> tiles;
  std::vector<int64_t> sequences;  // index of each sequence's first tile: its tiles are computed in their order

  void clear(QueryOrder query_order) {
    order = query_order;
    tiles.clear();
    sequences.clear();
  }
  void begin_sequence() { sequences.push_back(static_cast<int64_t>(tiles.size())); }
  // Rows [begin, end) of all operands as a whole sequence, of which every token is a query. The state before tile i of
  // the plan is state i, but for a sequence's first, which has none.
  void add_sequence(int64_t begin, int64_t end);
};

namespace kernels {

// q and o [T, H, D], k and v [Tk, H, D]: f32 throughout or bf16 throughout. log_decay [Tk, H] f32. states [N, H, E]
// with E >= D * D, f32: rows of D for the features of k. Rows of o that no tile names stay as they are.
void gated_retention_forward(Context& ctx, const Tensor& o, const Tensor& q, const Tensor& k, const Tensor& v,
                             const Tensor& log_decay, const Tensor& states, const RetentionPlan& plan, double scale);

// For passes in which every token is a query and sequences begin with their first tile: gradients from d_o and the
// states that the forward pass left before each tile. dq, dk, dv [T, H, D] (f32 or bf16) and d_decay [T, H] (f32) are
// overwritten.
void gated_retention_backward(Context& ctx, const Tensor& dq, const Tensor& dk, const Tensor& dv, const Tensor& d_decay,
                              const Tensor& d_o, const Tensor& q, const Tensor& k, const Tensor& v,
                              const Tensor& log_decay, const Tensor& states, const RetentionPlan& plan, double scale);

// What a gate makes of its input: y = logsigmoid(x) / divisor, at most 0. x [T, H] f32 or bf16, y [T, H] f32.
void log_decay_forward(Context& ctx, const Tensor& y, const Tensor& x, double divisor);
// dx [T, H] (f32 or bf16) is overwritten.
void log_decay_backward(Context& ctx, const Tensor& dx, const Tensor& dy, const Tensor& x, double divisor);

}  // namespace kernels
}  // namespace tandem
