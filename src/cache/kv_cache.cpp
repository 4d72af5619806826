#include "cache/kv_cache.h"

#include <algorithm>

#include "base/error.h"

namespace tandem {

KeyValueCache::KeyValueCache(DType dtype, int64_t capacity, int64_t heads, int64_t head_dim)
    : k_(dtype, {capacity, heads, head_dim}), v_(dtype, {capacity, heads, head_dim}) {}

void KeyValueCache::append(const Tensor& k, const Tensor& v) {
  int64_t end = length_ + k.rows();
  if (end > capacity()) {
    throw InputError({.what = "sequence longer than its cache",
                      .got = fmt::format("{} tokens", end),
                      .expected = fmt::format("at most {}", capacity())});
  }
  copy_convert(k_.tensor().slice_rows(length_, end), k);
  copy_convert(v_.tensor().slice_rows(length_, end), v);
  length_ = end;
}

void KeyValueCache::trim(int64_t length) { length_ = std::min(length_, std::max<int64_t>(length, 0)); }

}  // namespace tandem
