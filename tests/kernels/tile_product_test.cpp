// Products by tiles (kernels/cpu/tile_product.h): on emulated tiles wherever AVX-512 is, and on the processor's own
// where it has them.
#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <stdexcept>
#include <vector>

#include "kernels/cpu/kernels.h"
#include "kernels/emulated_tiles.h"
#include "kernels/isa/tile_probe.h"
#include "kernels/own_product.h"
#include "kernels/product_case.h"

namespace tandem::testing {
namespace {

struct Config {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};

  Config& shape(int tile, int n, int bytes) {
    rows[tile] = static_cast<uint8_t>(n);
    row_bytes[tile] = static_cast<uint16_t>(bytes);
    return *this;
  }
};
static_assert(sizeof(Config) == 64);

// A sum of 2 rows and 3 columns over 4 words in tile 0, its operands in 1 and 2, and a tile of other rows.
Config small() {
  Config config;
  return config.shape(0, 2, 12).shape(1, 2, 16).shape(2, 4, 12).shape(3, 3, 16);
}

TEST(EmulatedTiles, RefuseConfigurations) {
  auto refused = [](const Config& config) {
    EXPECT_THROW(EmulatedTiles::configure(&config), std::logic_error);
    EXPECT_FALSE(EmulatedTiles::configured());
  };
  EmulatedTiles::release();
  Config config = small();
  config.palette = 2;
  refused(config);
  config = small();
  config.start_row = 1;
  refused(config);
  config = small();
  config.reserved[13] = 1;
  refused(config);
  refused(Config().shape(0, 17, 64));
  refused(Config().shape(0, 16, 68));
  refused(Config().shape(0, 16, 0));
  refused(Config().shape(0, 0, 64));
  refused(Config().shape(8, 16, 64));
  EmulatedTiles::configure(&(config = small()));
  EXPECT_TRUE(EmulatedTiles::configured());
  EmulatedTiles::release();
  EXPECT_FALSE(EmulatedTiles::configured());
}

TEST(EmulatedTiles, RefuseOperands) {
  float memory[16 * 16] = {};
  EmulatedTiles::release();
  EXPECT_THROW(EmulatedTiles::zero(0), std::logic_error);
  EXPECT_THROW(EmulatedTiles::load(0, memory, 64), std::logic_error);
  Config config = small();
  EmulatedTiles::configure(&config);
  EXPECT_THROW(EmulatedTiles::zero(4), std::logic_error);
  EXPECT_THROW(EmulatedTiles::store(8, memory, 64), std::logic_error);
  EXPECT_NO_THROW(EmulatedTiles::multiply(0, 1, 2));
  EXPECT_THROW(EmulatedTiles::multiply(0, 0, 2), std::logic_error);
  EXPECT_THROW(EmulatedTiles::multiply(0, 3, 2), std::logic_error);  // rows
  EXPECT_THROW(EmulatedTiles::multiply(0, 2, 1), std::logic_error);
  EXPECT_THROW(EmulatedTiles::multiply(0, 1, 4), std::logic_error);
  EmulatedTiles::configure(&config.shape(2, 3, 12));  // words
  EXPECT_THROW(EmulatedTiles::multiply(0, 1, 2), std::logic_error);
  EmulatedTiles::configure(&config.shape(2, 4, 16));  // columns
  EXPECT_THROW(EmulatedTiles::multiply(0, 1, 2), std::logic_error);
  EmulatedTiles::release();
}

uint16_t bf16(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return static_cast<uint16_t>(bits >> 16);
}

// One sum of `a` times ones, added to `start`.
float sum_of(float start, const std::vector<float>& a) {
  Config config;
  const int words = static_cast<int>(a.size() / 2);
  config.shape(0, 1, 4).shape(1, 1, 4 * words).shape(2, words, 4);
  EmulatedTiles::configure(&config);
  uint16_t left[32], right[32];
  for (size_t i = 0; i < a.size(); ++i) left[i] = bf16(a[i]), right[i] = bf16(1);
  EmulatedTiles::load(0, &start, 4);
  EmulatedTiles::load(1, left, 64);
  EmulatedTiles::load(2, right, 4);
  EmulatedTiles::multiply(0, 1, 2);
  float result;
  EmulatedTiles::store(0, &result, 4);
  EmulatedTiles::release();
  return result;
}

TEST(EmulatedTiles, RoundAsTheProcessorDoes) {
  EXPECT_EQ(sum_of(10, {1, 2, 3, 4}), 20);
  // Even and odd elements are summed apart, in order, and what is there comes last.
  const float tiny = 0x1p-24f;
  EXPECT_EQ(sum_of(0, {1, 0, tiny, 0, tiny, 0}), 1);
  EXPECT_EQ(sum_of(0, {1, tiny, 0, tiny, 0, 0}), 1 + 2 * tiny);
  EXPECT_EQ(sum_of(1, {tiny, 0, tiny, 0}), 1 + 2 * tiny);
  EXPECT_EQ(sum_of(1, {tiny, 0}), 1);  // half a unit: to even
  EXPECT_EQ(sum_of(1 + 2 * tiny, {tiny, 0}), 1 + 4 * tiny);
  // Denormals count as zero.
  EXPECT_EQ(sum_of(0, {0x1p-127f, 0x1p-126f}), 0x1p-126f);
  EXPECT_EQ(sum_of(0x1p-130f, {0, 0}), 0);
  EXPECT_EQ(sum_of(-0x1.8p-126f, {0x1p-126f, 0}), 0);
  EXPECT_TRUE(std::isnan(sum_of(0, {std::numeric_limits<float>::quiet_NaN(), 0})));
}

const cpu::ProductKernels& emulated_kernels() {
  switch (choose_isa()) {
    case Isa::avx2: return cpu::avx2::kEmulatedTileProduct;
    case Isa::avx512: return cpu::avx512::kEmulatedTileProduct;
    default: return cpu::avx512_bf16::kEmulatedTileProduct;
  }
}

OwnProducts emulated(int threads) { return {{.f32 = {}, .bf16 = emulated_kernels()}, threads}; }

void by_emulated_tiles(Context& ctx, const Case& c, const Tensor& to, const Tensor& a, const Tensor& b) {
  emulated(ctx.pool().threads()).run(ctx.pool(), product_of(c, to, a, b));
  EXPECT_FALSE(EmulatedTiles::configured());
}

class TileProducts : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!emulated_kernels().multiply) GTEST_SKIP() << "operands are packed for tiles with AVX-512";
  }
};

Case bf16_case(Form form, int64_t m, int64_t n, int64_t k) {
  return {.form = form, .m = m, .n = n, .k = k, .operands = DType::bf16};
}

// Every kind of result: overwritten, added to, rounded; rows with gaps, which hold NaNs.
void check_results(Case c) {
  check(c, by_emulated_tiles);
  c.gap = 5;
  c.store = Store::accumulate;
  check(c, by_emulated_tiles);
  c.store = Store::overwrite;
  c.result = DType::bf16;
  check(c, by_emulated_tiles);
}

TEST_F(TileProducts, RowsOfALastTile) {
  for (Form form : {Form::nt, Form::nn, Form::tn}) {
    for (int64_t m : {1, 2, 15, 16, 17, 31, 32, 33, 48, 49, 65}) check_results(bf16_case(form, m, 35, 66));
  }
}

TEST_F(TileProducts, ColumnsOfALastTile) {
  for (Form form : {Form::nt, Form::nn, Form::tn}) {
    for (int64_t n : {1, 15, 16, 17, 31, 32, 33, 48, 63, 64, 130, 193}) check_results(bf16_case(form, 37, n, 36));
  }
}

TEST_F(TileProducts, WordsOfALastStep) {
  for (Form form : {Form::nt, Form::nn, Form::tn}) {
    for (int64_t k : {1, 2, 3, 30, 31, 32, 33, 34, 62, 63, 64, 65, 96}) check_results(bf16_case(form, 33, 34, k));
  }
}

TEST_F(TileProducts, SumsOfSeveralBlocks) {
  for (Form form : {Form::nt, Form::nn, Form::tn}) {
    for (int64_t k : {513, 1002, 1024}) check_results(bf16_case(form, 45, 70, k));
  }
}

// Rows that would share few sets of a cache are copied.
TEST_F(TileProducts, RowsFarApart) {
  for (Form form : {Form::nt, Form::nn, Form::tn}) {
    Case c = bf16_case(form, 40, 50, 992);
    c.gap = 32;
    check(c, by_emulated_tiles);
  }
}

TEST_F(TileProducts, SeveralChunks) {
  for (Form form : {Form::nt, Form::nn, Form::tn}) check_results(bf16_case(form, 200, 230, 128));
}

// What a block needs is packed while the one before it is multiplied: blocks of rows, of columns and of the sum.
TEST_F(TileProducts, SeveralBlocksOfAChunk) {
  for (Form form : {Form::nt, Form::nn, Form::tn}) {
    for (Case c : {bf16_case(form, 600, 40, 530), bf16_case(form, 40, 1100, 530)}) {
      c.store = Store::accumulate;
      check(c, by_emulated_tiles);
    }
  }
}

TEST_F(TileProducts, WithoutTerms) {
  for (DType result : {DType::f32, DType::bf16}) {
    Guarded to(result, {35, 40});
    to.fill_normal(1);
    Product p{.m = 35, .n = 40, .k = 0, .c = to.tensor().data, .c_row_stride = 40, .operands = DType::bf16};
    p.result = result;
    emulated(1).run(context(1).pool(), p);
    for (int64_t r = 0; r < 35; ++r) {
      for (int64_t i = 0; i < 40; ++i) EXPECT_EQ(load_element(to, r, i), 0);
    }
  }
}

TEST_F(TileProducts, SameBitsForAnyNumberOfThreads) {
  for (Form form : {Form::nt, Form::nn, Form::tn}) {
    Case c = bf16_case(form, 230, 150, 600);
    c.store = Store::accumulate;
    expect_same_bits_for_threads(c, by_emulated_tiles);
  }
}

// An element's sum does not depend on what is computed beside it: the rows of a prompt give the same bits in any
// pieces.
TEST_F(TileProducts, SameBitsForAnyPart) {
  constexpr int64_t kRows = 75, kColumns = 90;
  for (DType result : {DType::f32, DType::bf16}) {
    Case c = bf16_case(Form::nt, kRows, kColumns, 700);
    c.result = result;
    Guarded a(DType::bf16, shape_a(c)), b(DType::bf16, shape_b(c)), whole(result, {kRows, kColumns});
    a.fill_normal(1);
    b.fill_normal(2);
    by_emulated_tiles(context(1), c, whole, a, b);
    for (auto [row, rows] : {std::array<int64_t, 2>{0, 1}, {1, 40}, {41, 34}}) {
      for (auto [column, columns] : {std::array<int64_t, 2>{0, 50}, {50, 40}}) {
        Case part = c;
        part.m = rows;
        part.n = columns;
        Guarded to(result, {rows, columns});
        by_emulated_tiles(context(1), part, to, a.tensor().slice_rows(row, row + rows),
                          b.tensor().slice_rows(column, column + columns));
        EXPECT_TRUE(same_bits(to, whole.tensor().slice_rows(row, row + rows).slice_columns(column, column + columns)));
      }
    }
  }
}

// The sizes of the 28.9M model's training step, and what a step costs on any processor: a load for each multiplication,
// and tiles that are configured once for thousands of them.
TEST_F(TileProducts, OneLoadForAMultiplication) {
  Case c = bf16_case(Form::nn, 256, 448, 448);
  Guarded a(DType::bf16, shape_a(c)), b(DType::bf16, shape_b(c)), to(DType::f32, {c.m, c.n});
  a.fill_normal(1);
  b.fill_normal(2);
  const EmulatedTiles::Counts before = EmulatedTiles::counts();
  by_emulated_tiles(context(1), c, to, a, b);
  const EmulatedTiles::Counts& after = EmulatedTiles::counts();
  EXPECT_EQ(after.multiplied - before.multiplied, 256 / 16 * (448 / 16) * (448 / 32));
  EXPECT_EQ(after.loads - before.loads, after.multiplied - before.multiplied);
  EXPECT_EQ(after.stores - before.stores, 256 / 16 * (448 / 16));
  EXPECT_LE(after.configured - before.configured, (after.multiplied - before.multiplied) / 500);
}

TEST_F(TileProducts, BlocksStayInTheSecondCache) {
  constexpr int64_t kWidth = 448, kWide = 1792, kRows = 2048, kVocabulary = 32768, kHeadRows = 256;
  struct Size {
    Form form;
    int64_t m, n, k;
    DType result;
  };
  const Size sizes[] = {
      {Form::nt, kRows, kWidth, kWidth, DType::bf16},         {Form::nt, kRows, kWide, kWidth, DType::bf16},
      {Form::nt, kRows, kWidth, kWide, DType::bf16},          {Form::nn, kRows, kWidth, kWidth, DType::bf16},
      {Form::nn, kRows, kWide, kWidth, DType::bf16},          {Form::nn, kRows, kWidth, kWide, DType::bf16},
      {Form::tn, kWidth, kWidth, kRows, DType::f32},          {Form::tn, kWide, kWidth, kRows, DType::f32},
      {Form::tn, kWidth, kWide, kRows, DType::f32},           {Form::nt, kHeadRows, kVocabulary, kWidth, DType::f32},
      {Form::nn, kHeadRows, kWidth, kVocabulary, DType::f32}, {Form::nn, kHeadRows, kWidth, kVocabulary, DType::bf16},
      {Form::tn, kVocabulary, kWidth, kHeadRows, DType::f32}};
  const cpu::ProductKernels& kernels = emulated_kernels();
  for (const Size& s : sizes) {
    SCOPED_TRACE(::testing::Message() << "form " << static_cast<int>(s.form) << ", " << s.m << " x " << s.n << " x "
                                      << s.k);
    Case c{.form = s.form, .m = s.m, .n = s.n, .k = s.k, .operands = DType::bf16, .result = s.result};
    auto tensor = [](DType type, const Shape& shape) { return Tensor(nullptr, type, shape); };
    Product p =
        product_of(c, tensor(s.result, {s.m, s.n}), tensor(DType::bf16, shape_a(c)), tensor(DType::bf16, shape_b(c)));
    OwnPlan plan = emulated(2).plan(p);
    EXPECT_EQ(plan.rows % kernels.rows, 0);
    EXPECT_EQ(plan.columns % kernels.columns, 0);
    EXPECT_GE((s.m + plan.rows - 1) / plan.rows * ((s.n + plan.columns - 1) / plan.columns), 2);
    int64_t bytes = 2 * plan.words * 4 * plan.block_columns;
    if (plan.pack_a) bytes += 2 * plan.words * 4 * plan.block_rows;
    if (plan.words * 2 < s.k) bytes += plan.rows * plan.columns * 4;
    EXPECT_LE(bytes, 1280 << 10);
    EXPECT_EQ(plan.keep_sums, s.result == DType::bf16 && s.k > 512);
  }
}

TEST_F(TileProducts, TheProcessorGivesTheBitsOfTheEmulation) {
  if (context().isa() != Isa::amx) GTEST_SKIP() << "this machine has no tiles";
  for (Form form : {Form::nt, Form::nn, Form::tn}) {
    for (DType result : {DType::f32, DType::bf16}) {
      for (int64_t size : {1, 31, 64, 97}) {
        Case c = bf16_case(form, size + 20, size + 3, 9 * size);
        c.result = result;
        Guarded a(DType::bf16, shape_a(c)), b(DType::bf16, shape_b(c));
        Guarded own(result, {c.m, c.n}), want(result, {c.m, c.n});
        a.fill_normal(1);
        b.fill_normal(2);
        context().gemm().run(context().pool(), product_of(c, own, a, b), Gemm::By::own);
        by_emulated_tiles(context(), c, want, a, b);
        EXPECT_TRUE(same_bits(own, want)) << static_cast<int>(form) << ", size " << size;
      }
    }
  }
}

}  // namespace
}  // namespace tandem::testing
