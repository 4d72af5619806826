#include "kernels/linear_cross_entropy.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>

#include "base/error.h"
#include "kernels/chunks.h"
#include "kernels/cpu/kernels.h"
#include "kernels/cross_entropy.h"
#include "kernels/operand.h"
#include "kernels/own_product.h"

namespace tandem::kernels {
namespace {

using cpu::kTermPanelColumns;
using cpu::kTokenTile;

// Entries of the vocabulary whose logits are computed at once, for a tile of tokens: 192 KiB of logits and 96 KiB of
// terms beside the block's weights stay in a core's second cache. A whole number of tiles of the products' rows.
constexpr int64_t kBlock = 384;
// Blocks that one thread takes one after the other, adding up one tile's dx; and of dW.
constexpr int64_t kGroupBlocks = 11, kGradientBlocks = 2;
// Terms of one chunk of tokens: 512 tokens of a 32k vocabulary are 32 MiB.
constexpr int64_t kChunkTerms = int64_t{16} << 20;
// Rows of terms a power of two apart would share a few sets of the caches.
constexpr int64_t kTermPadding = 32;
// Rows of terms that are asked for while as many before them are multiplied.
constexpr int64_t kRowsAhead = 96;

int64_t whole(int64_t n, int64_t unit) { return chunk_count(n, unit) * unit; }

int64_t tokens_per_chunk(int64_t tokens, int64_t vocabulary) {
  const int64_t most = std::clamp<int64_t>(kChunkTerms / vocabulary, kTokenTile, 4096);
  return whole(chunk_count(tokens, chunk_count(tokens, most)), kTokenTile);
}

class Run {
 public:
  Run(Context& ctx, const LinearCrossEntropy& op, const cpu::ProductKernels& products)
      : ctx_(ctx),
        op_(op),
        products_(products),
        kernels_(ctx.cpu().linear_cross_entropy),
        width_(op.x.row_size()),
        vocabulary_(op.weight.rows()),
        blocks_(chunk_count(vocabulary_, kBlock)),
        groups_(chunk_count(blocks_, kGroupBlocks)),
        chunk_(tokens_per_chunk(op.x.rows(), vocabulary_)) {
    Arena& arena = ctx.scratch();
    const int64_t threads = ctx.pool().threads(), tiles = chunk_ / kTokenTile;
    terms_ = arena.tensor(DType::bf16, {blocks_ * kBlock, chunk_ + kTermPadding});
    turned_bytes_ = whole(panel_bytes(products, kBlock / 2, width_, products.rows), kBlockAlignment);
    turned_ = arena.tensor(DType::u8, {blocks_, turned_bytes_});
    parts_ = arena.tensor(DType::f32, {tiles, groups_, width_ * kTokenTile});
    levels_ = arena.tensor(DType::f32, {tiles, blocks_, kTokenTile});
    sums_ = arena.tensor(DType::f32, {tiles, groups_, kTokenTile});
    at_label_ = arena.tensor(DType::f32, {chunk_});
    total_ = arena.tensor(DType::f64, {chunk_});
    top_ = arena.tensor(DType::f32, {chunk_});
    logits_ = arena.tensor(DType::f32, {threads, kBlock * kTokenTile});
    panels_ = arena.tensor(DType::u8, {threads, panel_stride() * (kTokenTile / kTermPanelColumns)});
    tile_bytes_ = whole(panel_bytes(products, width_ / 2, kTokenTile, products.columns), kBlockAlignment);
    x_panels_ = arena.tensor(DType::u8, {threads, tile_bytes_});
    factors_ = arena.tensor(DType::f32, {threads, std::max(chunk_, groups_ * kTokenTile)});
    scaled_ = arena.tensor(DType::bf16, {threads, chunk_ * width_});
    scaled_panels_ = arena.tensor(DType::u8, {threads, panel_bytes(products, chunk_ / 2, width_, products.columns)});
  }

  void run() {
    turn_weight();
    for (int64_t begin = 0; begin < op_.x.rows(); begin += chunk_) {
      tokens_ = {begin, std::min(begin + chunk_, op_.x.rows())};
      const int64_t tiles = chunk_count(tokens_.size(), kTokenTile);
      ctx_.pool().run(tiles * groups_, [&](int64_t i, int worker) { group(i % tiles, i / tiles, worker); });
      finish_losses();
      constexpr int64_t kStrip = 16;
      ctx_.pool().run(chunk_count(tokens_.size(), kStrip),
                      [&](int64_t i, int worker) { token_gradients(i * kStrip, kStrip, worker); });
      if (!op_.dweight.defined()) continue;
      ctx_.pool().run(chunk_count(blocks_, kGradientBlocks), [&](int64_t i, int worker) {
        weight_gradients({i * kGradientBlocks, std::min((i + 1) * kGradientBlocks, blocks_)}, worker);
      });
    }
  }

 private:
  int64_t block_rows(int64_t block) const { return std::min(kBlock, vocabulary_ - block * kBlock); }
  int64_t panel_words(int64_t rows) const { return whole(chunk_count(rows, 2), products_.word_unit); }
  // Panels a multiple of 4 KiB apart would share a few sets of the first cache.
  int64_t panel_stride() const { return panel_words(kBlock) * 4 * kTermPanelColumns + 1024; }
  const uint16_t* weight_row(int64_t row) const { return op_.weight.row<uint16_t>(row); }
  uint16_t* terms_at(int64_t row, int64_t token) const { return terms_.row<uint16_t>(row) + token; }
  float* level(int64_t tile, int64_t block) const { return levels_.row<float>(tile) + block * kTokenTile; }
  float* sum(int64_t tile, int64_t group) const { return sums_.row<float>(tile) + group * kTokenTile; }
  float* part(int64_t tile, int64_t group) const { return parts_.row<float>(tile) + group * width_ * kTokenTile; }
  char* turned(int64_t block) const { return turned_.row<char>(block); }
  int64_t last_block(int64_t group) const { return std::min((group + 1) * kGroupBlocks, blocks_) - 1; }
  int32_t label(int64_t token) const { return op_.labels[static_cast<size_t>(tokens_.begin + token)]; }
  float label_factor() const { return static_cast<float>(op_.multiplier); }

  // The weights once more, as the left operand of dx^T = W^T e^T: words along the vocabulary.
  void turn_weight() {
    ctx_.pool().run(blocks_, [&](int64_t block, int) {
      products_.pack_a(turned(block), weight_row(block * kBlock), 1, op_.weight.row_stride, width_, block_rows(block));
    });
  }

  // A tile of tokens against the blocks of a group: their terms, and the tile's part of dx.
  void group(int64_t tile, int64_t group, int worker) {
    const int64_t first = tile * kTokenTile, count = std::min(kTokenTile, tokens_.size() - first);
    char* x = x_panels_.row<char>(worker);
    products_.pack_b(x, op_.x.row<uint16_t>(tokens_.begin + first), op_.x.row_stride, 1, count, width_);
    if (count < kTokenTile) clear_columns(x, count);
    for (int64_t block = group * kGroupBlocks; block <= last_block(group); ++block) {
      const bool begins = block == group * kGroupBlocks;
      logits(x, block, worker);
      keep_label_logits(first, count, block, worker);
      if (!begins) std::copy_n(level(tile, block - 1), kTokenTile, level(tile, block));
      make_terms(tile, group, block, begins, worker);
      add_to_part(tile, group, block, begins, worker);
    }
  }

  // Panels behind the last token of a tile: logits of zero.
  void clear_columns(char* x, int64_t count) const {
    const int64_t panel = whole(width_ / 2, products_.word_unit) * products_.columns * 4;
    const int64_t from = chunk_count(count, products_.columns) * panel, end = kTokenTile / products_.columns * panel;
    if (from < end) std::fill(x + from, x + end, 0);
  }

  void logits(const char* x, int64_t block, int worker) {
    cpu::ProductChunk chunk{};
    chunk.a = reinterpret_cast<const char*>(weight_row(block * kBlock));
    chunk.a_row_bytes = op_.weight.row_stride * 2;
    chunk.b = x;
    chunk.words = width_ / 2;
    chunk.c = {logits_.row<float>(worker), kTokenTile, false};
    chunk.rows = block_rows(block);
    chunk.columns = kTokenTile;
    products_.multiply(chunk);
  }

  void keep_label_logits(int64_t first, int64_t count, int64_t block, int worker) {
    const int64_t begin = block * kBlock, end = begin + block_rows(block);
    for (int64_t t = 0; t < count; ++t) {
      const int32_t id = label(first + t);
      if (id < begin || id >= end) continue;
      at_label_.as<float>()[first + t] = logits_.row<float>(worker)[(id - begin) * kTokenTile + t];
    }
  }

  void make_terms(int64_t tile, int64_t group, int64_t block, bool begins, int worker) {
    kernels_.terms({.logits = logits_.row<float>(worker),
                    .rows = block_rows(block),
                    .factor = static_cast<float>(op_.multiplier * std::numbers::log2e),
                    .first = begins,
                    .level = level(tile, block),
                    .sum = sum(tile, group),
                    .out = part(tile, group),
                    .out_rows = width_,
                    .terms = terms_at(block * kBlock, tile * kTokenTile),
                    .terms_stride = terms_.row_stride,
                    .panels = panels_.row<char>(worker),
                    .panel_words = panel_words(block_rows(block)),
                    .panel_bytes = panel_stride()});
  }

  void add_to_part(int64_t tile, int64_t group, int64_t block, bool begins, int worker) {
    cpu::ProductChunk chunk{};
    chunk.a = turned(block);
    chunk.words = chunk_count(block_rows(block), 2);
    chunk.start_stride = kTokenTile;
    chunk.rows = width_;
    chunk.columns = kTermPanelColumns;
    for (int64_t panel = 0; panel < kTokenTile / kTermPanelColumns; ++panel) {
      float* to = part(tile, group) + panel * kTermPanelColumns;
      chunk.b = panels_.row<char>(worker) + panel * panel_stride();
      chunk.c = {to, kTokenTile, false};
      chunk.start = begins ? nullptr : to;
      products_.multiply(chunk);
    }
  }

  // Each token's level over all groups, its sum at that level, and its loss.
  void finish_losses() {
    for (int64_t t = 0; t < tokens_.size(); ++t) {
      const int64_t tile = t / kTokenTile, lane = t % kTokenTile;
      float top = level(tile, last_block(0))[lane];
      for (int64_t g = 1; g < groups_; ++g) top = std::max(top, level(tile, last_block(g))[lane]);
      double total = 0;
      for (int64_t g = 0; g < groups_; ++g) {
        total += static_cast<double>(sum(tile, g)[lane]) * power(level(tile, last_block(g))[lane], top);
      }
      top_.as<float>()[t] = top;
      total_.as<double>()[t] = total;
      float* loss = op_.loss.row<float>(tokens_.begin + t);
      if (label(t) == kIgnoredLabel) {
        *loss = 0;
        continue;
      }
      const double at_label = op_.multiplier * static_cast<double>(at_label_.as<float>()[t]);
      *loss = static_cast<float>((top + std::log2(total)) * std::numbers::ln2 - at_label);
    }
  }

  // 2^(level - top), of whole numbers of which `top` is not the smaller one; NaN where there is no level.
  static double power(float level, float top) {
    const double difference = static_cast<double>(level) - static_cast<double>(top);
    constexpr int64_t kBias = 1023, kMantissaBits = 52;
    if (difference > -kBias) return std::bit_cast<double>((static_cast<int64_t>(difference) + kBias) << kMantissaBits);
    return std::isnan(difference) ? difference : 0.0;
  }

  // What a token's terms of some level are multiplied by to be its gradient's share.
  float factor(int64_t token, float level) const {
    const double total = total_.as<double>()[token];
    return static_cast<float>(op_.multiplier * power(level, top_.as<float>()[token]) / total);
  }

  void token_gradients(int64_t begin, int64_t strip, int worker) {
    const int64_t tile = begin / kTokenTile, lane = begin % kTokenTile;
    const int64_t count = std::min(strip, tokens_.size() - begin);
    float* factors = factors_.row<float>(worker);
    for (int64_t g = 0; g < groups_; ++g) {
      for (int64_t t = 0; t < strip; ++t) {
        factors[g * kTokenTile + t] = t < count ? factor(begin + t, level(tile, last_block(g))[lane + t]) : 0.0f;
      }
    }
    kernels_.token_gradient({.dx = matrix(op_.dx, tokens_.begin + begin),
                             .tokens = count,
                             .width = width_,
                             .parts = part(tile, 0) + lane,
                             .part_stride = width_ * kTokenTile,
                             .part_count = groups_,
                             .factors = factors,
                             .weight = weight_row(0),
                             .weight_stride = op_.weight.row_stride,
                             .labels = op_.labels.data() + tokens_.begin + begin,
                             .label_factor = label_factor()});
  }

  bool same_levels(int64_t block, int64_t other) const {
    const int64_t tiles = chunk_count(tokens_.size(), kTokenTile);
    for (int64_t tile = 0; tile < tiles; ++tile) {
      if (!std::equal(level(tile, block), level(tile, block) + kTokenTile, level(tile, other))) return false;
    }
    return true;
  }

  // x divided by the sums of a block's terms, as a right operand: words along the tokens.
  void pack_scaled(int64_t block, int worker) {
    const int64_t tokens = tokens_.size(), padded = whole(tokens, kTokenTile);
    float* factors = factors_.row<float>(worker);
    for (int64_t t = 0; t < tokens; ++t) {
      const bool counts = label(t) != kIgnoredLabel;
      factors[t] = counts ? factor(t, level(t / kTokenTile, block)[t % kTokenTile]) : 0.0f;
    }
    uint16_t* scaled = scaled_.row<uint16_t>(worker);
    kernels_.scale_rows(scaled, op_.x.row<uint16_t>(tokens_.begin), op_.x.row_stride, factors, tokens, width_);
    std::fill(scaled + tokens * width_, scaled + padded * width_, uint16_t{0});
    products_.pack_b(scaled_panels_.row<char>(worker), scaled, 1, width_, width_, padded);
  }

  void weight_gradients(Range blocks, int worker) {
    for (int64_t block = blocks.begin; block < blocks.end; ++block) {
      if (block == blocks.begin || !same_levels(block, block - 1)) pack_scaled(block, worker);
      const Range rows{block * kBlock, block * kBlock + block_rows(block)};
      for (int64_t row = rows.begin; row < rows.end; row += kRowsAhead) {
        add_to_weight({row, std::min(row + kRowsAhead, rows.end)}, worker);
      }
    }
    const int64_t first = blocks.begin * kBlock, end = std::min(blocks.end * kBlock, vocabulary_);
    for (int64_t t = 0; t < tokens_.size(); ++t) {
      if (label(t) < first || label(t) >= end) continue;
      kernels_.add_scaled(op_.dweight.row<float>(label(t)), op_.x.row<uint16_t>(tokens_.begin + t), -label_factor(),
                          width_);
    }
  }

  void add_to_weight(Range rows, int worker) {
    cpu::ProductChunk chunk{};
    chunk.a = reinterpret_cast<const char*>(terms_at(rows.begin, 0));
    chunk.a_row_bytes = terms_.row_stride * 2;
    chunk.b = scaled_panels_.row<char>(worker);
    chunk.words = whole(tokens_.size(), kTokenTile) / 2;
    chunk.c = matrix(op_.dweight, rows.begin);
    chunk.start = op_.dweight.row<float>(rows.begin);
    chunk.start_stride = op_.dweight.row_stride;
    chunk.rows = rows.size();
    chunk.columns = width_;
    chunk.fetch_start = true;
    const int64_t next = std::min(kRowsAhead, vocabulary_ - rows.end);
    if (next > 0) {
      chunk.ahead[0] = {reinterpret_cast<const char*>(terms_at(rows.end, 0)), chunk.a_row_bytes, next, chunk.words * 4};
    }
    products_.multiply(chunk);
  }

  Context& ctx_;
  const LinearCrossEntropy& op_;
  const cpu::ProductKernels& products_;
  const cpu::LinearCrossEntropyKernels& kernels_;
  const int64_t width_, vocabulary_, blocks_, groups_, chunk_;
  int64_t turned_bytes_ = 0, tile_bytes_ = 0;
  Range tokens_;  // of the chunk

  // Of the chunk.
  Tensor terms_;        // [V, chunk + padding]: e^T
  Tensor parts_;        // [tile][group][d][kTokenTile]: of dx^T
  Tensor levels_;       // [tile][block][kTokenTile]
  Tensor sums_;         // [tile][group][kTokenTile]
  Tensor at_label_;     // [chunk]
  Tensor total_, top_;  // [chunk]: sum of the terms at the highest level, and that level
  Tensor turned_;       // [block]: panels of W^T
  // One for each thread.
  Tensor logits_, panels_, x_panels_, factors_, scaled_, scaled_panels_;
};

}  // namespace

bool has_linear_cross_entropy(Context& ctx, const Tensor& x, const Tensor& weight, const Tensor& dweight) {
  return ctx.cpu().linear_cross_entropy.terms && x.dtype == DType::bf16 && weight.dtype == DType::bf16 &&
         x.row_size() % 2 == 0 && (!dweight.defined() || dweight.dtype == DType::f32);
}

void linear_cross_entropy(Context& ctx, const LinearCrossEntropy& op) {
  const cpu::ProductTypes products = cpu::products(ctx.isa());
  linear_cross_entropy(ctx, op, products.bf16);
}

void linear_cross_entropy(Context& ctx, const LinearCrossEntropy& op, const cpu::ProductKernels& products) {
  if (!has_linear_cross_entropy(ctx, op.x, op.weight, op.dweight)) {
    throw LogicError(
        {.what = "linear_cross_entropy: no kernel for these operands",
         .got = fmt::format("{} x {}, d {}", dtype_name(op.x.dtype), dtype_name(op.weight.dtype), op.x.row_size()),
         .expected = "bf16 x bf16 on AVX-512 BF16, d even"});
  }
  const auto tokens = static_cast<double>(op.x.rows());
  const double products_of_one = 2.0 * tokens * static_cast<double>(op.weight.elements());
  double moved = bytes_of(op.x, op.dx, op.weight) + 4 * tokens * static_cast<double>(op.weight.rows());
  if (op.dweight.defined()) moved += 2 * bytes_of(op.dweight);
  ProfileScope scope(ctx.profiler(), "linear_cross_entropy", (op.dweight.defined() ? 3 : 2) * products_of_one, moved);
  ArenaScope arena(ctx.scratch());
  Run(ctx, op, products).run();
}

}  // namespace tandem::kernels
