#include "ops/position_bias.h"

#include <cmath>
#include <cstring>

#include "base/error.h"

namespace tandem::ops {
namespace {

constexpr int64_t kRowsPerChunk = 64;

template <class Body>
void for_rows(Context& ctx, int64_t rows, const Body& body) {
  ctx.pool().run((rows + kRowsPerChunk - 1) / kRowsPerChunk, [&](int64_t chunk, int) {
    int64_t end = std::min(rows, (chunk + 1) * kRowsPerChunk);
    for (int64_t t = chunk * kRowsPerChunk; t < end; ++t) body(t);
  });
}

char* element(const Tensor& t, int64_t row, int64_t i) {
  return static_cast<char*>(t.data) + (row * t.row_stride + i) * dtype_bytes(t.dtype);
}

// Copies `count` heads of every row between matrices of one type whose heads have different sizes; what is left of a
// larger head becomes zero.
void copy_heads(Context& ctx, const Tensor& to, int64_t to_size, const Tensor& from, int64_t from_size, int64_t count) {
  auto width = static_cast<size_t>(dtype_bytes(to.dtype));
  auto common = static_cast<size_t>(std::min(to_size, from_size)) * width;
  auto rest = static_cast<size_t>(to_size) * width - common;
  for_rows(ctx, to.rows(), [&](int64_t t) {
    for (int64_t head = 0; head < count; ++head) {
      char* at = element(to, t, head * to_size);
      std::memcpy(at, element(from, t, head * from_size), common);
      std::memset(at + common, 0, rest);
    }
  });
}

// Position and feature of the bias that query head `head` holds for keys at `position`.
int64_t feature(const PositionBias& bias, int64_t head, int64_t position) {
  return head * bias.wide() + bias.head_dim + position;
}

void add_bias_gradient(const Tensor& dtable, const Tensor& dwide, const PositionBias& bias,
                       std::span<const int32_t> positions, int64_t buckets) {
  for (int64_t t = 0; t < dwide.rows(); ++t) {
    int64_t own = positions[static_cast<size_t>(t)];
    for (int64_t key = 0; key <= own; ++key) {
      int64_t bucket = relative_bucket(own - key, buckets, bias.most_distance);
      for (int64_t head = 0; head < bias.heads; ++head) {
        double d = load_element(dwide, t, feature(bias, head, key));
        store_element(dtable, bucket, head, load_element(dtable, bucket, head) + d);
      }
    }
  }
}

}  // namespace

int64_t relative_bucket(int64_t distance, int64_t buckets, int64_t most) {
  int64_t exact = buckets / 2;
  if (distance < exact) return distance;
  // In float32, as the field's implementations do.
  float share = std::log(static_cast<float>(distance) / static_cast<float>(exact)) /
                static_cast<float>(std::log(static_cast<double>(most) / static_cast<double>(exact)));
  return std::min(exact + static_cast<int64_t>(share * static_cast<float>(buckets - exact)), buckets - 1);
}

Var widen_heads(Tape& tape, Var qkv, const PositionBias& bias, std::span<const int32_t> positions,
                const Weight& table) {
  int64_t tokens = qkv->value.rows(), buckets = table.value.shape[0], heads = bias.heads;
  check_shape("widen_heads", "qkv", qkv->value, {tokens, 3 * heads * bias.head_dim});
  check_shape("widen_heads", "table", table.value, {buckets, heads});
  for (int32_t position : positions) {
    if (position >= 0 && position < bias.positions) continue;
    throw LogicError({.what = "widen_heads: position out of range",
                      .got = fmt::format("{}", position),
                      .expected = fmt::format("0..{}", bias.positions - 1)});
  }
  Var out = tape.activation({tokens, 3 * heads * bias.wide()});
  copy_heads(tape.context(), out->value, bias.wide(), qkv->value, bias.head_dim, 3 * heads);
  for_rows(tape.context(), tokens, [&](int64_t t) {
    int64_t own = positions[static_cast<size_t>(t)];
    for (int64_t head = 0; head < heads; ++head) {
      for (int64_t key = 0; key <= own; ++key) {
        int64_t bucket = relative_bucket(own - key, buckets, bias.most_distance);
        store_element(out->value, t, feature(bias, head, key), load_element(table.value, bucket, head));
      }
      store_element(out->value, t, feature(bias, heads + head, own), 1.0);
    }
  });
  tape.on_backward(
      [=, dtable = table.grad](Tape& t) {
        if (!out->grad.defined()) return;
        if (dtable.defined()) add_bias_gradient(dtable, out->grad, bias, positions, buckets);
        Tape::GradientSlot slot = t.gradient_slot(qkv);
        if (slot.accumulate) throw LogicError({.what = "widen_heads: the projection is used twice"});
        Tape::Converted d = t.converted(out->grad, slot.tensor.dtype);
        copy_heads(t.context(), slot.tensor, bias.head_dim, d.tensor, bias.wide(), 3 * heads);
        t.give_back(d);
        t.drop_gradient(out);
      },
      {table.grad});
  return out;
}

Var narrow_heads(Tape& tape, Var attended, const PositionBias& bias) {
  check_shape("narrow_heads", "attended", attended->value, {attended->value.rows(), bias.heads * bias.wide()});
  Var out = tape.activation({attended->value.rows(), bias.heads * bias.head_dim});
  copy_heads(tape.context(), out->value, bias.head_dim, attended->value, bias.wide(), bias.heads);
  tape.on_backward([=](Tape& t) {
    if (!out->grad.defined()) return;
    Tape::GradientSlot slot = t.gradient_slot(attended);
    if (slot.accumulate) throw LogicError({.what = "narrow_heads: the attention is used twice"});
    Tape::Converted d = t.converted(out->grad, slot.tensor.dtype);
    copy_heads(t.context(), slot.tensor, bias.wide(), d.tensor, bias.head_dim, bias.heads);
    t.give_back(d);
    t.drop_gradient(out);
  });
  return out;
}

}  // namespace tandem::ops
