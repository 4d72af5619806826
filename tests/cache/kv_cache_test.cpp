#include "cache/kv_cache.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/error.h"
#include "base/temporary_folder.h"

namespace tandem::test {
namespace {

// rows x [heads, head_dim] with the elements first, first + 1, ...
Storage counted(DType dtype, int64_t rows, int64_t heads, int64_t head_dim, double first) {
  Storage s(dtype, {rows, heads, head_dim});
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t i = 0; i < heads * head_dim; ++i) {
      store_element(s.tensor(), r, i, first + static_cast<double>(r * heads * head_dim + i));
    }
  }
  return s;
}

TEST(KeyValueCache, KeepsRowsInOrder) {
  KeyValueCache cache(DType::f32, 5, 2, 3);
  EXPECT_EQ(cache.length(), 0);
  EXPECT_EQ(cache.capacity(), 5);
  Storage k0 = counted(DType::f32, 2, 2, 3, 0), v0 = counted(DType::f32, 2, 2, 3, 100);
  Storage k1 = counted(DType::f32, 1, 2, 3, 12), v1 = counted(DType::f32, 1, 2, 3, 112);
  cache.append(k0.tensor(), v0.tensor());
  cache.append(k1.tensor(), v1.tensor());
  EXPECT_EQ(cache.length(), 3);
  EXPECT_EQ(cache.k().shape, (Shape{3, 2, 3}));
  for (int64_t r = 0; r < 3; ++r) {
    for (int64_t i = 0; i < 6; ++i) {
      EXPECT_EQ(load_element(cache.k(), r, i), static_cast<double>(r * 6 + i));
      EXPECT_EQ(load_element(cache.v(), r, i), static_cast<double>(100 + r * 6 + i));
    }
  }
}

// Keys and values usually are columns of a projection.
TEST(KeyValueCache, TakesColumnsOfAMatrix) {
  Storage projection(DType::f32, {2, 8});
  for (int64_t i = 0; i < 16; ++i) store_element(projection.tensor(), i / 8, i % 8, static_cast<double>(i));
  KeyValueCache cache(DType::f32, 2, 2, 2);
  cache.append(projection.tensor().slice_columns(0, 4).view({2, 2, 2}),
               projection.tensor().slice_columns(4, 8).view({2, 2, 2}));
  EXPECT_EQ(load_element(cache.k(), 1, 3), 11);
  EXPECT_EQ(load_element(cache.v(), 0, 0), 4);
  EXPECT_EQ(load_element(cache.v(), 1, 3), 15);
}

TEST(KeyValueCache, CountsBytesOfWhatItHolds) {
  for (auto [dtype, width] : {std::pair{DType::f32, 4}, std::pair{DType::bf16, 2}}) {
    KeyValueCache cache(dtype, 7, 3, 4);
    EXPECT_EQ(cache.bytes_per_token(), 2 * 3 * 4 * width);
    EXPECT_EQ(cache.bytes(), 0);
    Storage k = counted(dtype, 2, 3, 4, 0), v = counted(dtype, 2, 3, 4, 0);
    cache.append(k.tensor(), v.tensor());
    EXPECT_EQ(cache.bytes(), 2 * 2 * 3 * 4 * width);
  }
}

TEST(KeyValueCache, TrimKeepsTheFirstTokens) {
  KeyValueCache cache(DType::f32, 4, 1, 2);
  Storage k = counted(DType::f32, 4, 1, 2, 0), v = counted(DType::f32, 4, 1, 2, 50);
  cache.append(k.tensor(), v.tensor());
  cache.trim(9);
  EXPECT_EQ(cache.length(), 4);
  cache.trim(1);
  EXPECT_EQ(cache.length(), 1);
  EXPECT_EQ(cache.bytes(), cache.bytes_per_token());
  Storage again = counted(DType::f32, 3, 1, 2, 1000);
  cache.append(again.tensor(), again.tensor());
  EXPECT_EQ(load_element(cache.k(), 0, 1), 1);
  EXPECT_EQ(load_element(cache.k(), 1, 0), 1000);
  EXPECT_EQ(load_element(cache.v(), 3, 1), 1005);
  cache.trim(-1);
  EXPECT_EQ(cache.length(), 0);
}

TEST(KeyValueCache, FullIsAnInputErrorThatChangesNothing) {
  KeyValueCache cache(DType::f32, 2, 1, 2);
  Storage k = counted(DType::f32, 1, 1, 2, 0), two = counted(DType::f32, 2, 1, 2, 7);
  cache.append(k.tensor(), k.tensor());
  std::string message = message_of<InputError>([&] { cache.append(two.tensor(), two.tensor()); });
  EXPECT_NE(message.find("3 tokens"), std::string::npos) << message;
  EXPECT_NE(message.find("at most 2"), std::string::npos) << message;
  EXPECT_EQ(cache.length(), 1);
  cache.append(k.tensor(), k.tensor());
  EXPECT_EQ(cache.length(), 2);
}

}  // namespace
}  // namespace tandem::test
