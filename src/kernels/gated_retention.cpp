#include "kernels/gated_retention.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "kernels/chunks.h"
#include "kernels/cpu/kernels.h"
#include "kernels/operand.h"
#include "kernels/ref/gated_retention.h"

namespace tandem {

void RetentionPlan::add_sequence(int64_t begin, int64_t end) {
  begin_sequence();
  for (int64_t first = begin; first < end; first += kRetentionTile) {
    auto index = static_cast<int64_t>(tiles.size());
    int64_t tokens = std::min(kRetentionTile, end - first);
    tiles.push_back({.keys = first,
                     .tokens = tokens,
                     .query_row = first,
                     .queries = tokens,
                     .before = first == begin ? RetentionTile::kNone : index,
                     .behind = first + tokens == end ? RetentionTile::kNone : index + 1});
  }
}

namespace kernels {
namespace {

static_assert(kRetentionTile == cpu::kRetentionRows);

// What a call works on, one head of one tile at a time.
struct Operands {
  const Tensor& q;
  const Tensor& k;
  const Tensor& v;
  const Tensor& log_decay;
  const Tensor& states;
  double scale;

  int64_t heads() const { return q.shape[1]; }
  int64_t size() const { return q.shape[2]; }
};

void check(const Operands& x, const RetentionPlan& plan) {
  int64_t d = x.size(), keys = x.k.rows();
  bool fits = x.q.shape.rank() == 3 && d % 2 == 0 && d <= 256 && x.k.shape[1] == x.heads() && x.k.shape[2] == d &&
              x.v.shape == x.k.shape && x.log_decay.rows() == keys && x.log_decay.row_size() == x.heads();
  for (const RetentionTile& tile : plan.tiles) {
    auto state = [&](int64_t index) { return index >= RetentionTile::kNone && index < x.states.rows(); };
    fits = fits && tile.tokens >= 1 && tile.tokens <= kRetentionTile && tile.keys >= 0 &&
           tile.keys + tile.tokens <= keys && tile.first_query + tile.queries <= tile.tokens &&
           tile.query_row + tile.queries <= x.q.rows() && (tile.before == RetentionTile::kNone || state(tile.before)) &&
           (tile.behind == RetentionTile::kNone || state(tile.behind));
  }
  if (fits) return;
  throw LogicError({.what = "gated_retention: operands and plan do not fit together",
                    .got = fmt::format("q {}, k {}, log_decay {}, {} tiles", x.q.shape.text(), x.k.shape.text(),
                                       x.log_decay.shape.text(), plan.tiles.size())});
}

cpu::Matrix head_rows(const Tensor& t, int64_t row, int64_t head) {
  cpu::Matrix m = matrix(t, row);
  m.data = static_cast<char*>(m.data) + head * t.shape[2] * dtype_bytes(t.dtype);
  return m;
}

float* state_of(const Tensor& states, int64_t index, int64_t head) {
  return index == RetentionTile::kNone ? nullptr : states.row<float>(index) + head * states.shape[2];
}

cpu::RetentionHead head_of(const Operands& x, const Tensor& o, const RetentionTile& tile, int64_t head) {
  return {.q = head_rows(x.q, tile.query_row, head),
          .o = head_rows(o, tile.query_row, head),
          .k = head_rows(x.k, tile.keys, head),
          .v = head_rows(x.v, tile.keys, head),
          .log_decay = x.log_decay.row<float>(tile.keys) + head,
          .decay_stride = x.log_decay.row_stride,
          .before = state_of(x.states, tile.before, head),
          .behind = state_of(x.states, tile.behind, head),
          .tokens = tile.tokens,
          .first_query = tile.first_query,
          .queries = tile.queries,
          .n = x.size(),
          .scale = static_cast<float>(x.scale)};
}

Range tiles_of(const RetentionPlan& plan, int64_t sequence) {
  auto at = static_cast<size_t>(sequence);
  auto end = at + 1 < plan.sequences.size() ? plan.sequences[at + 1] : static_cast<int64_t>(plan.tiles.size());
  return {plan.sequences[at], end};
}

// Every (sequence, head) is a chunk: the state goes from tile to tile.
template <class Body>
void for_chains(Context& ctx, const RetentionPlan& plan, int64_t heads, const Body& body) {
  auto sequences = static_cast<int64_t>(plan.sequences.size());
  ctx.pool().run(sequences * heads, [&](int64_t i, int worker) { body(tiles_of(plan, i / heads), i % heads, worker); });
}

// Products of a pass: scores and sums over the tile's tokens, queries by states, states.
double products(const RetentionPlan& plan, double size) {
  double count = 0;
  for (const RetentionTile& tile : plan.tiles) {
    auto tokens = static_cast<double>(tile.tokens), queries = static_cast<double>(tile.queries);
    count += 2 * queries * size * (tokens / 2 + tokens / 2 + (tile.before != RetentionTile::kNone ? size : 0));
    if (tile.behind != RetentionTile::kNone) count += 2 * tokens * size * size;
  }
  return count;
}

double state_bytes(const RetentionPlan& plan, const Operands& x) {
  auto wanted = [](int64_t index) { return index != RetentionTile::kNone; };
  int64_t count = 0;
  for (const RetentionTile& tile : plan.tiles) count += wanted(tile.before) + wanted(tile.behind);
  return static_cast<double>(count * x.heads() * x.size() * x.size() * dtype_bytes(x.log_decay.dtype));
}

}  // namespace

void gated_retention_forward(Context& ctx, const Tensor& o, const Tensor& q, const Tensor& k, const Tensor& v,
                             const Tensor& log_decay, const Tensor& states, const RetentionPlan& plan, double scale) {
  Operands x{q, k, v, log_decay, states, scale};
  check(x, plan);
  int64_t read = 0;
  for (const RetentionTile& tile : plan.tiles) read += tile.tokens;
  double bytes =
      bytes_of(q, o) + state_bytes(plan, x) + 2.0 * static_cast<double>(read * k.row_size() * dtype_bytes(k.dtype));
  ProfileScope scope(ctx.profiler(), "gated_retention",
                     static_cast<double>(x.heads()) * products(plan, static_cast<double>(x.size())), bytes);
  if (is_reference(q.dtype)) return ref::gated_retention_forward(o, q, k, v, log_decay, states, plan, scale);
  const cpu::GatedRetentionKernels& kernels = ctx.cpu().gated_retention;
  auto forward = plan.order == QueryOrder::by_query ? kernels.forward_by_query : kernels.forward_by_tile;
  ArenaScope memory(ctx.scratch());
  int64_t floats = kernels.workspace_floats(x.size());
  float* work = ctx.scratch().tensor(DType::f32, {ctx.pool().threads(), floats}).as<float>();
  for_chains(ctx, plan, x.heads(), [&](Range tiles, int64_t head, int worker) {
    for (int64_t i = tiles.begin; i < tiles.end; ++i) {
      forward(head_of(x, o, plan.tiles[static_cast<size_t>(i)], head), work + worker * floats);
    }
  });
}

void gated_retention_backward(Context& ctx, const Tensor& dq, const Tensor& dk, const Tensor& dv, const Tensor& d_decay,
                              const Tensor& d_o, const Tensor& q, const Tensor& k, const Tensor& v,
                              const Tensor& log_decay, const Tensor& states, const RetentionPlan& plan, double scale) {
  Operands x{q, k, v, log_decay, states, scale};
  check(x, plan);
  ProfileScope scope(ctx.profiler(), "gated_retention.backward",
                     3 * static_cast<double>(x.heads()) * products(plan, static_cast<double>(x.size())),
                     bytes_of(q, k, v, dq, dk, dv, d_o) + state_bytes(plan, x));
  if (is_reference(q.dtype)) {
    return ref::gated_retention_backward(dq, dk, dv, d_decay, d_o, q, k, v, log_decay, states, plan, scale);
  }
  const cpu::GatedRetentionKernels& kernels = ctx.cpu().gated_retention;
  ArenaScope memory(ctx.scratch());
  int64_t state = kernels.state_floats(x.size()), floats = kernels.workspace_floats(x.size()) + state;
  float* work = ctx.scratch().tensor(DType::f32, {ctx.pool().threads(), floats}).as<float>();
  for_chains(ctx, plan, x.heads(), [&](Range tiles, int64_t head, int worker) {
    float* d_state = work + worker * floats;
    std::memset(d_state, 0, static_cast<size_t>(state) * sizeof(float));
    for (int64_t i = tiles.end - 1; i >= tiles.begin; --i) {
      const RetentionTile& tile = plan.tiles[static_cast<size_t>(i)];
      cpu::RetentionHeadGradient gradient{.d_o = head_rows(d_o, tile.query_row, head),
                                          .dq = head_rows(dq, tile.query_row, head),
                                          .dk = head_rows(dk, tile.keys, head),
                                          .dv = head_rows(dv, tile.keys, head),
                                          .d_decay = d_decay.row<float>(tile.keys) + head,
                                          .d_decay_stride = d_decay.row_stride,
                                          .d_state = d_state};
      kernels.backward(head_of(x, d_o, tile, head), gradient, d_state + state);
    }
  });
}

void log_decay_forward(Context& ctx, const Tensor& y, const Tensor& x, double divisor) {
  ProfileScope scope(ctx.profiler(), "log_decay", 20.0 * static_cast<double>(x.elements()), bytes_of(x, y));
  for_ranges(ctx, x.rows(), std::max<int64_t>(1, 1024 / x.row_size()), [&](Range rows) {
    ref::log_decay_forward(y.slice_rows(rows.begin, rows.end), x.slice_rows(rows.begin, rows.end), divisor);
  });
}

void log_decay_backward(Context& ctx, const Tensor& dx, const Tensor& dy, const Tensor& x, double divisor) {
  ProfileScope scope(ctx.profiler(), "log_decay", 20.0 * static_cast<double>(x.elements()), bytes_of(x, dy, dx));
  for_ranges(ctx, x.rows(), std::max<int64_t>(1, 1024 / x.row_size()), [&](Range rows) {
    ref::log_decay_backward(dx.slice_rows(rows.begin, rows.end), dy.slice_rows(rows.begin, rows.end),
                            x.slice_rows(rows.begin, rows.end), divisor);
  });
}

}  // namespace kernels
}  // namespace tandem
