#include "kernels/packed_matmul.h"

#include "base/error.h"
#include "kernels/chunks.h"
#include "kernels/cpu/kernels.h"
#include "kernels/operand.h"
#include "kernels/ref/packed_matmul.h"

namespace tandem::kernels {
namespace {

const cpu::PackedFormatKernels& kernels_of(Context& ctx, WeightFormat format) {
  const cpu::PackedMatmulKernels& all = ctx.cpu().packed_matmul;
  switch (format) {
    case WeightFormat::f32: return all.f32;
    case WeightFormat::bf16: return all.bf16;
    case WeightFormat::int8: return all.int8;
    case WeightFormat::int4: return all.int4;
  }
  return all.f32;
}

bool is_operand(DType t) { return t == DType::f32 || t == DType::bf16; }

void check(const Tensor& y, const Tensor& x, const PackedWeight& weight) {
  if (y.rows() != x.rows() || x.row_size() != weight.inputs() || y.row_size() != weight.outputs()) {
    throw LogicError({.what = "shapes of packed_matmul do not fit",
                      .got = fmt::format("{} and W [{}, {}] into {}", x.shape.text(), weight.outputs(), weight.inputs(),
                                         y.shape.text()),
                      .expected = "x [M, K] and W [N, K] into y [M, N]"});
  }
  if (is_reference(x.dtype) || is_reference(y.dtype)) return;
  if (!is_operand(x.dtype) || !is_operand(y.dtype)) {
    throw LogicError({.what = "packed_matmul has no kernel for these types",
                      .got = fmt::format("{} into {}", dtype_name(x.dtype), dtype_name(y.dtype)),
                      .expected = "f32 or bf16"});
  }
}

cpu::Matrix from(const Tensor& t, int64_t row, int64_t column) {
  cpu::Matrix m = matrix(t, row);
  m.data = static_cast<char*>(m.data) + column * dtype_bytes(t.dtype);
  return m;
}

// The rows of x as blocks, laid out for the kernels; the last block may have fewer rows.
struct Blocks {
  const char* data = nullptr;
  int64_t rows = 0, block_rows = 0, block_bytes = 0;
  int64_t count() const { return chunk_count(rows, block_rows); }
};

Blocks lay_out(Context& ctx, const Tensor& x, const PackedWeight& weight) {
  const cpu::PackedFormatKernels& kernels = kernels_of(ctx, weight.format());
  int64_t block_bytes = kernels.most_rows * weight.groups() * kernels.group_words * cpu::kWordBytes;
  Blocks b{.rows = x.rows(), .block_rows = kernels.most_rows, .block_bytes = block_bytes};
  char* data = static_cast<char*>(ctx.scratch().allocate(static_cast<size_t>(b.count() * block_bytes)));
  for_ranges(ctx, b.rows, b.block_rows, [&](Range rows) {
    kernels.lay_out(data + rows.begin / b.block_rows * block_bytes, matrix(x, rows.begin), rows.size(), x.row_size());
  });
  b.data = data;
  return b;
}

// Multiplies some blocks with some panels: every panel stays in the cache while the blocks pass by.
void multiply(Context& ctx, const Tensor& y, const Blocks& blocks, Range block_range, const PackedWeight& weight,
              Range panel_range, Store store) {
  const cpu::PackedFormatKernels& kernels = kernels_of(ctx, weight.format());
  for (int64_t panel = panel_range.begin; panel < panel_range.end; ++panel) {
    for (int64_t block = block_range.begin; block < block_range.end; ++block) {
      Range rows = chunk_range(block, blocks.block_rows, blocks.rows);
      Range columns = chunk_range(panel, cpu::kPanelWidth, y.row_size());
      kernels.multiply({.panel = weight.panel(panel),
                        .scales = weight.panel_scales(panel),
                        .block = blocks.data + block * blocks.block_bytes,
                        .groups = weight.groups(),
                        .y = from(y, rows.begin, columns.begin),
                        .rows = rows.size(),
                        .columns = columns.size(),
                        .accumulate = store == Store::accumulate});
    }
  }
}

// Few blocks: the time is that of reading the panels from memory. Every chunk begins where nothing was fetched ahead,
// so there are few: long ones first, then ever shorter ones, with which the threads finish together.
constexpr int64_t kStreamedBlocks = 4;
void multiply_streaming(Context& ctx, const Tensor& y, const Blocks& blocks, const PackedWeight& weight, Store store) {
  const int64_t share = 2 * ctx.pool().threads();
  auto length = [&](int64_t begin) { return chunk_count(weight.panels() - begin, share); };
  int64_t chunks = 0;
  for (int64_t begin = 0; begin < weight.panels(); begin += length(begin)) ++chunks;
  auto* begins = static_cast<int64_t*>(ctx.scratch().allocate(static_cast<size_t>(chunks + 1) * sizeof(int64_t)));
  begins[0] = 0;
  for (int64_t i = 0; i < chunks; ++i) begins[i + 1] = begins[i] + length(begins[i]);
  ctx.pool().run(chunks, [&](int64_t chunk, int) {
    multiply(ctx, y, blocks, {0, blocks.count()}, weight, {begins[chunk], begins[chunk + 1]}, store);
  });
}

// Many blocks: the time is that of arithmetic.
void multiply_tiled(Context& ctx, const Tensor& y, const Blocks& blocks, const PackedWeight& weight, Store store) {
  constexpr int64_t kBlockBytes = 256 << 10;  // stay in the cache of a core (1 MiB or more) beside a panel
  constexpr double kWork = 1e7;               // operations of a chunk: about 50 us
  const int64_t at_once = std::clamp<int64_t>(kBlockBytes / blocks.block_bytes, 1, blocks.count());
  double panel_work = 2.0 * static_cast<double>(at_once * blocks.block_rows * cpu::kPanelWidth * weight.inputs());
  const int64_t panels = std::max<int64_t>(1, static_cast<int64_t>(kWork / panel_work));
  const int64_t panel_chunks = chunk_count(weight.panels(), panels);
  ctx.pool().run(chunk_count(blocks.count(), at_once) * panel_chunks, [&](int64_t chunk, int) {
    Range block_range = chunk_range(chunk / panel_chunks, at_once, blocks.count());
    Range panel_range = chunk_range(chunk % panel_chunks, panels, weight.panels());
    multiply(ctx, y, blocks, block_range, weight, panel_range, store);
  });
}

}  // namespace

void packed_matmul(Context& ctx, const Tensor& y, const Tensor& x, const PackedWeight& weight, Store store) {
  double flops = 2.0 * static_cast<double>(y.elements()) * static_cast<double>(weight.inputs());
  ProfileScope scope(ctx.profiler(), "packed matmul", flops, static_cast<double>(weight.bytes()) + bytes_of(x, y));
  check(y, x, weight);
  if (is_reference(x.dtype) || is_reference(y.dtype)) return ref::packed_matmul(y, x, weight, store);
  if (y.rows() == 0) return;

  ArenaScope arena(ctx.scratch());
  Blocks blocks = lay_out(ctx, x, weight);
  if (blocks.count() <= kStreamedBlocks) return multiply_streaming(ctx, y, blocks, weight, store);
  multiply_tiled(ctx, y, blocks, weight, store);
}

}  // namespace tandem::kernels
