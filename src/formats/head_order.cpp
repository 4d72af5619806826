#include "formats/head_order.h"

#include <cstring>
#include <vector>

#include "base/error.h"

namespace tandem {
namespace {

// The place in `order` of the head that is number `head` of ours.
int64_t place_of(int64_t head, const HeadCounts& heads, HeadOrder order) {
  int64_t group = heads.query / heads.key_value;
  return order == HeadOrder::grouped ? head : head % group * heads.key_value + head / group;
}

// Moves stretches of head_dim elements of the `size` elements at `x`.
void reorder(float* x, int64_t stretch, const HeadCounts& heads, HeadOrder from, HeadOrder to) {
  std::vector<float> before(x, x + heads.query * stretch);
  for (int64_t head = 0; head < heads.query; ++head) {
    std::memcpy(x + place_of(head, heads, to) * stretch, before.data() + place_of(head, heads, from) * stretch,
                static_cast<size_t>(stretch) * sizeof(float));
  }
}

bool attention_part(std::string_view name, std::string_view part) {
  return name.find(std::string("attention.").append(part)) != std::string_view::npos;
}

}  // namespace

void reorder_query_heads(std::string_view ours, const Tensor& t, const HeadCounts& heads, HeadOrder from,
                         HeadOrder to) {
  bool rows = attention_part(ours, "qkv.") || attention_part(ours, "q.");
  bool columns = attention_part(ours, "out.weight");
  if (from == to || (!rows && !columns)) return;
  int64_t size = heads.query * heads.head_dim;
  if (t.dtype != DType::f32 || !t.contiguous() || (rows ? t.rows() < size : t.row_size() != size)) {
    throw LogicError({.what = "query heads of a tensor that does not hold them",
                      .where = std::string(ours),
                      .got = t.shape.text(),
                      .expected = fmt::format("{} {} in float32", size, rows ? "rows" : "columns")});
  }
  if (rows) return reorder(t.as<float>(), heads.head_dim * t.row_size(), heads, from, to);
  for (int64_t r = 0; r < t.rows(); ++r) reorder(t.row<float>(r), heads.head_dim, heads, from, to);
}

}  // namespace tandem
