#include "tensor/arena.h"

#include <gtest/gtest.h>

#include <cstring>
#include <set>

namespace tandem {
namespace {

bool aligned(const void* p) { return reinterpret_cast<uintptr_t>(p) % kBlockAlignment == 0; }

// Byte i of a tensor of any type.
int byte_of(const Tensor& t, int64_t i) { return static_cast<const uint8_t*>(t.data)[i]; }

void fill(const Tensor& t, int byte) { std::memset(t.data, byte, static_cast<size_t>(t.bytes())); }

TEST(Arena, HandsOutAlignedBlocksThatDoNotOverlap) {
  Arena arena;
  std::vector<Tensor> tensors;
  for (int i = 0; i < 200; ++i) {
    tensors.push_back(arena.tensor(DType::u8, {1 + i * 37}));
    ASSERT_TRUE(aligned(tensors.back().data));
    fill(tensors.back(), i);
  }
  for (int i = 0; i < 200; ++i) {
    const Tensor& t = tensors[static_cast<size_t>(i)];
    for (int64_t k = 0; k < t.bytes(); ++k) ASSERT_EQ(byte_of(t, k), i);
  }
}

TEST(Arena, EmptyTensorsHaveAnAddress) {
  Arena arena;
  EXPECT_TRUE(arena.tensor(DType::f32, {0, 5}).defined());
}

TEST(Arena, ASecondStepAsksTheSystemForNothing) {
  Arena arena;
  auto step = [&] {
    arena.reset();
    for (int i = 1; i < 40; ++i) fill(arena.tensor(DType::f32, {i * 20'000}), 1);
  };
  step();
  int64_t allocations = arena.system_allocations();
  size_t reserved = arena.reserved_bytes();
  EXPECT_GT(allocations, 1) << "the test should need several chunks";
  for (int i = 0; i < 5; ++i) step();
  EXPECT_EQ(arena.system_allocations(), allocations);
  EXPECT_EQ(arena.reserved_bytes(), reserved);
}

TEST(Arena, BlocksLargerThanAChunkGetTheirOwn) {
  Arena arena;
  Tensor small = arena.tensor(DType::u8, {100});
  Tensor large = arena.tensor(DType::u8, {40 << 20});
  Tensor after = arena.tensor(DType::u8, {100});
  fill(small, 1);
  fill(large, 2);
  fill(after, 3);
  EXPECT_EQ(byte_of(small, 99), 1);
  EXPECT_EQ(byte_of(large, 0), 2);
  EXPECT_EQ(byte_of(large, (40 << 20) - 1), 2);
  EXPECT_GE(arena.reserved_bytes(), size_t{40} << 20);
}

TEST(Arena, AScopeGivesItsMemoryBack) {
  Arena arena;
  Tensor kept = arena.tensor(DType::f32, {10});
  fill(kept, 7);
  void* first = nullptr;
  {
    ArenaScope scope(arena);
    first = arena.allocate(1000);
    {
      ArenaScope inner(arena);
      std::memset(arena.allocate(30 << 20), 9, 30 << 20);  // in another chunk
    }
  }
  EXPECT_EQ(arena.allocate(1000), first);
  EXPECT_EQ(byte_of(kept, 39), 7);
}

TEST(Arena, ZerosAreZeroInUsedMemory) {
  Arena arena;
  fill(arena.tensor(DType::f32, {1000}), 0xFF);
  arena.reset();
  Tensor t = arena.zeros(DType::f32, {1000});
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(t.as<float>()[i], 0.0f);
}

TEST(BlockPool, ReusesBlocksOfTheSameSize) {
  BlockPool pool;
  Tensor a = pool.take(DType::f32, {100, 50});
  Tensor b = pool.take(DType::f32, {100, 50});
  EXPECT_NE(a.data, b.data);
  EXPECT_TRUE(aligned(a.data));
  fill(a, 1);
  fill(b, 2);
  EXPECT_EQ(byte_of(a, a.bytes() - 1), 1);
  pool.give_back(a);
  Tensor c = pool.take(DType::f32, {50, 100});
  EXPECT_EQ(c.data, a.data);
  EXPECT_EQ(c.shape, (Shape{50, 100}));
  EXPECT_NE(pool.take(DType::f32, {100, 50}).data, c.data) << "a block in use was handed out again";
  EXPECT_EQ(pool.system_allocations(), 3);
}

// One pass over `tokens` tokens: eight values live at a time, of three widths.
void pass_over(BlockPool& pool, int64_t tokens) {
  std::vector<Tensor> live;
  for (int i = 0; i < 24; ++i) {
    live.push_back(pool.take(DType::f32, {tokens, 64 << (i % 3)}));
    fill(live.back(), i);
    if (live.size() > 8) {
      pool.give_back(live.front());
      live.erase(live.begin());
    }
  }
  for (size_t i = 0; i < live.size(); ++i)
    ASSERT_EQ(byte_of(live[i], live[i].bytes() - 1), 24 - 8 + static_cast<int>(i));
  pool.take_all_back();
}

// Every pass has a length of its own, as rows of conversations have: what the pool holds stays a small multiple of what
// the largest pass needs.
TEST(BlockPool, PassesOfEverNewSizesDoNotPileUp) {
  BlockPool one;
  pass_over(one, 1024);
  BlockPool pool;
  size_t most = 0;
  uint32_t random = 1;
  for (int pass = 0; pass < 500; ++pass) {
    random = random * 1664525 + 1013904223;
    pass_over(pool, 200 + random % 825);
    most = std::max(most, pool.reserved_bytes());
  }
  EXPECT_LT(most, 4 * one.reserved_bytes());
  EXPECT_GT(most, one.reserved_bytes() / 2);
}

TEST(BlockPool, PassesOfOneShapeAskOnlyOnce) {
  BlockPool pool;
  for (int round = 0; round < 3; ++round) {
    pass_over(pool, 1000);
    pass_over(pool, 900);  // within reach of the larger blocks, which the next pass wants
  }
  int64_t allocations = pool.system_allocations();
  for (int round = 0; round < 10; ++round) {
    pass_over(pool, 1000);
    pass_over(pool, 900);
  }
  EXPECT_EQ(pool.system_allocations(), allocations);
}

TEST(BlockPool, KeepsTheNumberOfBlocksOfAStep) {
  BlockPool pool;
  for (int step = 0; step < 5; ++step) {
    std::vector<Tensor> taken;
    for (int i = 1; i <= 10; ++i) taken.push_back(pool.take(DType::f32, {i * 3000}));
    std::set<void*> distinct;
    for (const Tensor& t : taken) distinct.insert(t.data);
    EXPECT_EQ(distinct.size(), taken.size());
    for (const Tensor& t : taken) pool.give_back(t);
    EXPECT_EQ(pool.system_allocations(), 10);
  }
  EXPECT_GE(pool.reserved_bytes(), size_t{55 * 3000 * 4});
}

TEST(Storage, IsZeroedAndMoves) {
  Storage a(DType::f32, {300, 7});
  for (int i = 0; i < 2100; ++i) ASSERT_EQ(a.tensor().as<float>()[i], 0.0f);
  a.tensor().as<float>()[5] = 3;
  void* data = a.tensor().data;
  Storage b(std::move(a));
  EXPECT_EQ(b.tensor().data, data);
  EXPECT_FALSE(a.tensor().defined());  // NOLINT(bugprone-use-after-move): a moved-from Storage is empty
  Storage c(DType::u8, {1});
  c = std::move(b);
  EXPECT_EQ(c.tensor().as<float>()[5], 3.0f);
  EXPECT_EQ(c.tensor().shape, (Shape{300, 7}));
}

}  // namespace
}  // namespace tandem
