#include "kernels/own_product.h"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/product.h"

namespace tandem {
namespace {

constexpr int64_t kWordBytes = 4;
constexpr int64_t kOuterCache = 8 << 20;  // bytes: what is larger lies in memory
int64_t per_word(DType t) { return t == DType::bf16 ? 2 : 1; }

int64_t pieces(int64_t n, int64_t size) { return (n + size - 1) / size; }

// The size of `count` equal pieces of n, in whole `unit`s.
int64_t piece(int64_t n, int64_t count, int64_t unit) { return std::min(n, pieces(pieces(n, count), unit) * unit); }

// A result that is rounded to bf16 must be summed up in one go. Otherwise blocks keep panels of B in the first and
// second cache.
int64_t block_words(const Product& p, int64_t words) {
  constexpr int64_t kWhole = 448, kMost = 256, kUnit = 16;
  if (p.result != DType::f32 || words <= kWhole) return std::max<int64_t>(words, 1);
  return piece(words, pieces(words, kMost), kUnit);
}

// What a cut costs, as a share of the product's own time: packing operands again for each piece of the other one,
// threads (of two, and of four) that have nothing left to do at the end or wait for one that is held up, and handing
// out chunks. The figures are measured.
double cost_of_cut(const Product& p, double work, int64_t rows, int64_t columns, bool pack_a) {
  constexpr double kPackRows = 8, kReadRows = 2, kPackColumns = 5.4, kTransposed = 6.4, kHeldUp = 0.15, kHandOut = 5e4;
  auto chunks = static_cast<double>(pieces(p.m, rows) * pieces(p.n, columns));
  const double chunk_share = static_cast<double>(rows * columns) / static_cast<double>(p.m * p.n);
  auto idle = [&](double threads) { return std::ceil(chunks / threads) * threads * chunk_share - 1; };
  double a_cost = (pack_a ? kPackRows : kReadRows) / static_cast<double>(columns);
  double b_cost = (p.b_row_stride == 1 ? kTransposed : kPackColumns) / static_cast<double>(rows);
  return a_cost + b_cost + kHeldUp / chunks + idle(2) + idle(4) / 4 + kHandOut * chunks / work;
}

}  // namespace

OwnProducts::OwnProducts(const cpu::ProductTypes& kernels, int threads)
    : kernels_(kernels), buffers_(static_cast<size_t>(threads)) {}

const cpu::ProductKernels& OwnProducts::kernels_of(const Product& p) const {
  return p.operands == DType::bf16 ? kernels_.bf16 : kernels_.f32;
}

bool OwnProducts::has(const Product& p) const { return kernels_of(p).multiply != nullptr; }

OwnPlan OwnProducts::plan(const Product& p) const {
  constexpr int64_t kLeastRows = 48, kLeastColumns = 64, kBlockBytes = 128 << 10, kPackedRowsBytes = 256 << 10;
  const cpu::ProductKernels& kernels = kernels_of(p);
  OwnPlan plan;
  int64_t unit = per_word(p.operands);
  plan.words = block_words(p, pieces(p.k, unit));
  // Rows a multiple of 2 KiB apart would share a few sets of the first cache.
  bool aliased = p.a_row_stride * dtype_bytes(p.operands) % 2048 == 0;
  plan.pack_a = p.a_column_stride != 1 || p.k % unit != 0 || aliased;
  double work = 2.0 * static_cast<double>(p.m) * static_cast<double>(p.n) * static_cast<double>(p.k);
  double best = 0;
  for (int64_t across = 1; across == 1 || pieces(p.n, across) >= kLeastColumns; ++across) {
    int64_t columns = piece(p.n, across, kernels.columns);
    for (int64_t down = 1; down == 1 || pieces(p.m, down) >= kLeastRows; ++down) {
      int64_t rows = piece(p.m, down, kernels.rows);
      double cost = cost_of_cut(p, work, rows, columns, plan.pack_a);
      if (best > 0 && cost >= best) continue;
      best = cost;
      plan.rows = rows;
      plan.columns = columns;
    }
  }
  plan.block_rows = plan.rows;
  int64_t panels = std::max<int64_t>(1, kBlockBytes / (plan.words * kWordBytes * kernels.columns));
  plan.block_columns = piece(plan.columns, pieces(plan.columns, panels * kernels.columns), kernels.columns);
  if (plan.pack_a) {
    int64_t most = std::max(kernels.rows, kPackedRowsBytes / (plan.words * kWordBytes));
    plan.block_rows = piece(plan.rows, pieces(plan.rows, most), kernels.rows);
  }
  return plan;
}

void OwnProducts::reserve(const cpu::ProductKernels& kernels, const OwnPlan& plan) {
  auto bytes = [&](int64_t size, int64_t panel) {
    return pieces(size, panel) * panel * (plan.words + 1) * kWordBytes + cpu::kProductSlack;
  };
  auto grow = [](Storage& storage, int64_t needed) {
    if (storage.tensor().defined() && storage.tensor().bytes() >= needed) return;
    storage = Storage(DType::u8, {needed + needed / 4});
  };
  for (Buffers& b : buffers_) {
    if (plan.pack_a) grow(b.a, bytes(plan.block_rows, kernels.rows));
    grow(b.b, bytes(plan.block_columns, kernels.columns));
  }
}

namespace {

// One block of a chunk: rows x columns of the result, and a part of the sum. Without rows: none.
struct Block {
  int64_t row = 0, rows = 0, column = 0, columns = 0, k = 0, count = 0;
};

// All blocks of a product, chunk by chunk; within a chunk columns within rows within the sum.
class Blocks {
 public:
  Blocks(const OwnPlan& plan, const Product& p)
      : plan_(plan),
        m_(p.m),
        n_(p.n),
        k_(p.k),
        depth_(plan.words * per_word(p.operands)),
        down_(pieces(p.m, plan.rows)) {}

  int64_t chunks() const { return down_ * pieces(n_, plan_.columns); }
  int64_t count(int64_t chunk) const {
    return std::max<int64_t>(1, pieces(k_, depth_)) * pieces(rows(chunk), plan_.block_rows) *
           pieces(columns(chunk), plan_.block_columns);
  }
  Block at(int64_t chunk, int64_t index) const {
    const int64_t across = pieces(columns(chunk), plan_.block_columns), down = pieces(rows(chunk), plan_.block_rows);
    const int64_t column = index % across * plan_.block_columns, row = index / across % down * plan_.block_rows;
    const int64_t k = index / (across * down) * depth_;
    return {.row = first_row(chunk) + row,
            .rows = std::min(plan_.block_rows, rows(chunk) - row),
            .column = first_column(chunk) + column,
            .columns = std::min(plan_.block_columns, columns(chunk) - column),
            .k = k,
            .count = std::min(depth_, k_ - k)};
  }

 private:
  int64_t first_row(int64_t chunk) const { return chunk % down_ * plan_.rows; }
  int64_t first_column(int64_t chunk) const { return chunk / down_ * plan_.columns; }
  int64_t rows(int64_t chunk) const { return std::min(plan_.rows, m_ - first_row(chunk)); }
  int64_t columns(int64_t chunk) const { return std::min(plan_.columns, n_ - first_column(chunk)); }

  const OwnPlan& plan_;
  int64_t m_, n_, k_, depth_, down_;
};

// The part of an operand [n, k] that a block reads.
cpu::Ahead part(const void* data, int64_t n_stride, int64_t k_stride, int64_t n, int64_t count_n, int64_t k,
                int64_t count_k, int64_t width) {
  const char* at = static_cast<const char*>(data) + (n * n_stride + k * k_stride) * width;
  if (n_stride == 1) return {at, k_stride * width, count_k, count_n * width};
  return {at, n_stride * width, count_n, count_k * width};
}

// One thread's way through blocks: what it has packed stays for the next block that needs it.
class Worker {
 public:
  Worker(const cpu::ProductKernels& kernels, const OwnPlan& plan, const Product& p, char* packed_a, char* packed_b)
      : kernels_(kernels),
        p_(p),
        packed_a_(plan.pack_a ? packed_a : nullptr),
        packed_b_(packed_b),
        width_(dtype_bytes(p.operands)),
        fetch_a_(plan.pack_a || p.m * p.a_row_stride * dtype_bytes(p.operands) > kOuterCache),
        fetch_c_(p.accumulate && p.m * p.c_row_stride * dtype_bytes(p.result) > kOuterCache) {}

  // `next` is what will probably be computed after this.
  void compute(const Block& block, const Block& next) {
    const bool new_a = !same_a(before_, block), new_b = !same_b(before_, block);
    if (packed_a_ && new_a) {
      kernels_.pack_a(packed_a_, a_of(block).data, p_.a_row_stride, p_.a_column_stride, block.rows, block.count);
    }
    if (new_b) {
      kernels_.pack_b(packed_b_, b_of(block).data, p_.b_column_stride, p_.b_row_stride, block.columns, block.count);
    }
    int64_t c = (block.row * p_.c_row_stride + block.column) * dtype_bytes(p_.result);
    cpu::ProductChunk chunk{.a = packed_a_ ? packed_a_ : a_of(block).data,
                            .a_row_bytes = packed_a_ ? 0 : p_.a_row_stride * width_,
                            .b = packed_b_,
                            .words = pieces(block.count, per_word(p_.operands)),
                            .c = {static_cast<char*>(p_.c) + c, p_.c_row_stride, p_.result == DType::bf16},
                            .rows = block.rows,
                            .columns = block.columns,
                            .accumulate = p_.accumulate || block.k > 0,
                            .fetch_result = fetch_c_,
                            .ahead = {}};
    if (next.rows > 0 && fetch_a_ && !same_a(next, block)) chunk.ahead[0] = a_of(next);
    if (next.rows > 0 && !same_b(next, block)) chunk.ahead[1] = b_of(next);
    kernels_.multiply(chunk);
    before_ = block;
  }

 private:
  static bool same_a(const Block& x, const Block& y) { return x.row == y.row && x.rows == y.rows && x.k == y.k; }
  static bool same_b(const Block& x, const Block& y) {
    return x.column == y.column && x.columns == y.columns && x.k == y.k;
  }
  cpu::Ahead a_of(const Block& b) const {
    return part(p_.a, p_.a_row_stride, p_.a_column_stride, b.row, b.rows, b.k, b.count, width_);
  }
  cpu::Ahead b_of(const Block& b) const {
    return part(p_.b, p_.b_column_stride, p_.b_row_stride, b.column, b.columns, b.k, b.count, width_);
  }

  const cpu::ProductKernels& kernels_;
  const Product& p_;
  char* packed_a_;
  char* packed_b_;
  int64_t width_;
  bool fetch_a_, fetch_c_;
  Block before_;
};

}  // namespace

void OwnProducts::run(ThreadPool& pool, const Product& p) {
  const cpu::ProductKernels& kernels = kernels_of(p);
  const OwnPlan cut = plan(p);
  reserve(kernels, cut);
  const Blocks blocks(cut, p);
  pool.run(blocks.chunks(), [&](int64_t chunk, int worker_index) {
    Buffers& buffers = buffers_[static_cast<size_t>(worker_index)];
    Worker worker(kernels, cut, p, cut.pack_a ? static_cast<char*>(buffers.a.tensor().data) : nullptr,
                  static_cast<char*>(buffers.b.tensor().data));
    // Where all threads are equally fast, this one takes this chunk next.
    const int64_t later = chunk + pool.threads();
    for (int64_t i = 0, n = blocks.count(chunk); i < n; ++i) {
      Block next;
      if (i + 1 < n) {
        next = blocks.at(chunk, i + 1);
      } else if (later < blocks.chunks()) {
        next = blocks.at(later, 0);
      }
      worker.compute(blocks.at(chunk, i), next);
    }
  });
}

}  // namespace tandem
