#include "kernels/own_product.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace tandem {
namespace {

constexpr int64_t kWordBytes = 4, kSumBytes = 4;
constexpr int64_t kOuterCache = 8 << 20;  // bytes: what is larger lies in memory
int64_t per_word(DType t) { return t == DType::bf16 ? 2 : 1; }

int64_t pieces(int64_t n, int64_t size) { return (n + size - 1) / size; }

// The size of `count` equal pieces of n, in whole `unit`s.
int64_t piece(int64_t n, int64_t count, int64_t unit) { return std::min(n, pieces(pieces(n, count), unit) * unit); }

// The next count of pieces that are smaller than `size`.
int64_t next_count(int64_t n, int64_t size, int64_t unit) {
  const int64_t smaller = (size - 1) / unit * unit;
  return smaller > 0 ? pieces(n, smaller) : n + 1;
}

int64_t block_words(const Product& p, const cpu::ProductFigures& figures, int64_t words) {
  constexpr int64_t kUnit = 16;
  const bool whole = p.result != DType::f32 && !figures.bf16_in_blocks;
  if (whole || words <= figures.whole_words) return std::max<int64_t>(words, 1);
  return piece(words, pieces(words, figures.block_words), kUnit);
}

// What a cut costs, as a share of the product's own time: packing operands again for each piece of the other one,
// threads (of two, and of four) that have nothing left to do at the end or wait for one that is held up, and handing
// out chunks.
double cost_of_cut(const Product& p, const cpu::ProductFigures& figures, double work, int64_t rows, int64_t columns,
                   bool pack_a) {
  constexpr double kHeldUp = 0.15;
  auto chunks = static_cast<double>(pieces(p.m, rows) * pieces(p.n, columns));
  const double chunk_share = static_cast<double>(rows * columns) / static_cast<double>(p.m * p.n);
  auto idle = [&](double threads) { return std::ceil(chunks / threads) * threads * chunk_share - 1; };
  double a_cost = (pack_a ? figures.pack_a : figures.read_a) / static_cast<double>(columns);
  double b_cost = (p.b_row_stride == 1 ? figures.pack_turned_b : figures.pack_b) / static_cast<double>(rows);
  return a_cost + b_cost + kHeldUp / chunks + idle(2) + idle(4) / 4 + figures.hand_out * chunks / work;
}

}  // namespace

OwnProducts::OwnProducts(const cpu::ProductTypes& kernels, int threads)
    : kernels_(kernels), buffers_(static_cast<size_t>(threads)) {}

const cpu::ProductKernels& OwnProducts::kernels_of(const Product& p) const {
  return p.operands == DType::bf16 ? kernels_.bf16 : kernels_.f32;
}

bool OwnProducts::has(const Product& p) const { return kernels_of(p).multiply != nullptr; }

OwnPlan OwnProducts::plan(const Product& p) const {
  constexpr int64_t kLeastRows = 48, kLeastColumns = 64;
  const cpu::ProductKernels& kernels = kernels_of(p);
  const cpu::ProductFigures& figures = kernels.figures;
  OwnPlan plan;
  const int64_t unit = per_word(p.operands), words = pieces(p.k, unit);
  plan.words = block_words(p, figures, words);
  const bool in_blocks = plan.words < words;
  plan.keep_sums = in_blocks && p.result != DType::f32;
  // Rows a multiple of 2 KiB apart would share a few sets of the first cache.
  bool aliased = p.a_row_stride * dtype_bytes(p.operands) % 2048 == 0;
  plan.pack_a = p.a_column_stride != 1 || p.k % unit != 0 || aliased;
  double work = 2.0 * static_cast<double>(p.m) * static_cast<double>(p.n) * static_cast<double>(p.k);
  double best = 0;
  for (int64_t across = 1, columns = 0; across == 1 || pieces(p.n, across) >= kLeastColumns;
       across = next_count(p.n, columns, kernels.columns)) {
    columns = piece(p.n, across, kernels.columns);
    for (int64_t down = 1, rows = 0; down == 1 || pieces(p.m, down) >= kLeastRows;
         down = next_count(p.m, rows, kernels.rows)) {
      rows = piece(p.m, down, kernels.rows);
      if (in_blocks && rows * columns * kSumBytes > figures.sums_bytes) continue;
      double cost = cost_of_cut(p, figures, work, rows, columns, plan.pack_a);
      if (best > 0 && cost >= best) continue;
      best = cost;
      plan.rows = rows;
      plan.columns = columns;
    }
  }
  plan.block_rows = plan.rows;
  int64_t panels = std::max<int64_t>(1, figures.b_bytes / (plan.words * kWordBytes * kernels.columns));
  plan.block_columns = piece(plan.columns, pieces(plan.columns, panels * kernels.columns), kernels.columns);
  if (plan.pack_a) {
    int64_t most = std::max(kernels.rows, figures.a_bytes / (plan.words * kWordBytes));
    plan.block_rows = piece(plan.rows, pieces(plan.rows, most), kernels.rows);
  }
  return plan;
}

int64_t panel_bytes(const cpu::ProductKernels& kernels, int64_t words, int64_t size, int64_t panel) {
  words = pieces(words, kernels.word_unit) * kernels.word_unit;
  return pieces(size, panel) * panel * (words + 1) * kWordBytes + cpu::kProductSlack;
}

namespace {

int64_t a_bytes(const cpu::ProductKernels& kernels, const OwnPlan& plan) {
  return panel_bytes(kernels, plan.words, plan.block_rows, kernels.rows);
}
int64_t b_bytes(const cpu::ProductKernels& kernels, const OwnPlan& plan) {
  return panel_bytes(kernels, plan.words, plan.block_columns, kernels.columns);
}

}  // namespace

void OwnProducts::reserve(const cpu::ProductKernels& kernels, const OwnPlan& plan) {
  auto grow = [](Storage& storage, int64_t needed) {
    if (storage.tensor().defined() && storage.tensor().bytes() >= needed) return;
    storage = Storage(DType::u8, {needed + needed / 4});
  };
  const int64_t sets = kernels.figures.packs_ahead ? 2 : 1;
  for (Buffers& b : buffers_) {
    if (plan.pack_a) grow(b.a, sets * a_bytes(kernels, plan));
    grow(b.b, sets * b_bytes(kernels, plan));
    if (plan.keep_sums) grow(b.sums, plan.rows * plan.columns * kSumBytes);
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

// Packed panels of one operand: what is multiplied now, and, where kernels pack ahead, what they pack meanwhile.
struct PanelSets {
  char* now;  // null: the operand is read where it lies
  char* then;
  bool ahead = false;  // `then` is packed for the next block

  PanelSets(void* memory, int64_t set_bytes) : now(static_cast<char*>(memory)), then(now ? now + set_bytes : nullptr) {}

  template <class Pack>
  void fill(const Pack& pack, const cpu::Packing& job) {
    if (ahead) {
      std::swap(now, then);
    } else {
      pack(now, job.from, job.n_stride, job.k_stride, job.n, job.k);
    }
    ahead = false;
  }
};

// What comes after a block: one of the same chunk for certain, the first of another one probably, or nothing.
struct Next {
  Block block;
  bool certain = false;
};

// One thread's way through the blocks of a chunk: what it has packed stays for the next block that needs it.
class Worker {
 public:
  Worker(const cpu::ProductKernels& kernels, const OwnPlan& plan, const Product& p, const PanelSets& a,
         const PanelSets& b, float* sums)
      : kernels_(kernels),
        plan_(plan),
        p_(p),
        a_(a),
        b_(b),
        sums_(plan.keep_sums ? sums : nullptr),
        width_(dtype_bytes(p.operands)),
        fetch_a_(plan.pack_a || p.m * p.a_row_stride * dtype_bytes(p.operands) > kOuterCache),
        fetch_c_(p.accumulate && p.m * p.c_row_stride * dtype_bytes(p.result) > kOuterCache) {}

  void compute(const Block& block, const Next& next) {
    if (a_.now && !same_a(before_, block)) a_.fill(kernels_.pack_a, packing_a(block));
    if (!same_b(before_, block)) b_.fill(kernels_.pack_b, packing_b(block));
    cpu::ProductChunk chunk{.a = a_.now ? a_.now : a_of(block).data,
                            .a_row_bytes = a_.now ? 0 : p_.a_row_stride * width_,
                            .b = b_.now,
                            .words = pieces(block.count, per_word(p_.operands)),
                            .c = result(block),
                            .start = nullptr,
                            .start_stride = 0,
                            .rows = block.rows,
                            .columns = block.columns,
                            .fetch_start = fetch_c_,
                            .ahead = {},
                            .next_a = {},
                            .next_b = {}};
    if (p_.accumulate || block.k > 0) {
      const cpu::Matrix before = sums_ ? sums(block) : chunk.c;
      chunk.start = static_cast<const float*>(before.data);
      chunk.start_stride = before.stride;
    }
    if (next.block.rows > 0) prepare(chunk, block, next);
    kernels_.multiply(chunk);
    before_ = block;
  }

 private:
  // What the kernel does for the next block while it computes this one.
  void prepare(cpu::ProductChunk& chunk, const Block& block, const Next& next) {
    const bool new_a = !same_a(next.block, block), new_b = !same_b(next.block, block);
    const bool pack = kernels_.figures.packs_ahead && next.certain;
    if (pack && new_a && a_.now) {
      chunk.next_a = packing_a(next.block);
      chunk.next_a.to = a_.then;
      a_.ahead = true;
    } else if (new_a && fetch_a_) {
      chunk.ahead[0] = a_of(next.block);
    }
    if (pack && new_b) {
      chunk.next_b = packing_b(next.block);
      chunk.next_b.to = b_.then;
      b_.ahead = true;
    } else if (new_b) {
      chunk.ahead[1] = b_of(next.block);
    }
  }
  cpu::Packing packing_a(const Block& b) const {
    return {a_.now, a_of(b).data, p_.a_row_stride, p_.a_column_stride, b.rows, b.count};
  }
  cpu::Packing packing_b(const Block& b) const {
    return {b_.now, b_of(b).data, p_.b_column_stride, p_.b_row_stride, b.columns, b.count};
  }
  static bool same_a(const Block& x, const Block& y) { return x.row == y.row && x.rows == y.rows && x.k == y.k; }
  static bool same_b(const Block& x, const Block& y) {
    return x.column == y.column && x.columns == y.columns && x.k == y.k;
  }
  // Where a block's sums go.
  cpu::Matrix result(const Block& b) const {
    if (sums_ && b.k + b.count < p_.k) return sums(b);
    const int64_t at = (b.row * p_.c_row_stride + b.column) * dtype_bytes(p_.result);
    return {static_cast<char*>(p_.c) + at, p_.c_row_stride, p_.result == DType::bf16};
  }
  cpu::Matrix sums(const Block& b) const {
    return {sums_ + b.row % plan_.rows * plan_.columns + b.column % plan_.columns, plan_.columns, false};
  }
  cpu::Ahead a_of(const Block& b) const {
    return part(p_.a, p_.a_row_stride, p_.a_column_stride, b.row, b.rows, b.k, b.count, width_);
  }
  cpu::Ahead b_of(const Block& b) const {
    return part(p_.b, p_.b_column_stride, p_.b_row_stride, b.column, b.columns, b.k, b.count, width_);
  }

  const cpu::ProductKernels& kernels_;
  const OwnPlan& plan_;
  const Product& p_;
  PanelSets a_, b_;
  float* sums_;  // [plan.rows, plan.columns], or null
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
    Worker worker(kernels, cut, p, PanelSets(cut.pack_a ? buffers.a.tensor().data : nullptr, a_bytes(kernels, cut)),
                  PanelSets(buffers.b.tensor().data, b_bytes(kernels, cut)),
                  static_cast<float*>(buffers.sums.tensor().data));
    // Where all threads are equally fast, this one takes this chunk next.
    const int64_t later = chunk + pool.threads();
    for (int64_t i = 0, n = blocks.count(chunk); i < n; ++i) {
      Next next;
      if (i + 1 < n) {
        next = {blocks.at(chunk, i + 1), true};
      } else if (later < blocks.chunks()) {
        next = {blocks.at(later, 0), false};
      }
      worker.compute(blocks.at(chunk, i), next);
    }
  });
}

}  // namespace tandem
