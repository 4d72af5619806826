#include "kernels/product_timing.h"

#include <algorithm>

#include "base/clock.h"
#include "base/rng.h"
#include "tensor/arena.h"

namespace tandem::kernels {
namespace {

constexpr int kLeastRounds = 5, kMostRounds = 200;
constexpr double kEnoughSeconds = 0.05;

// An operand's memory from its first to its last element, random numbers from -1 to 1.
Storage random_operand(DType type, int64_t rows, int64_t row_stride, int64_t columns, int64_t column_stride) {
  int64_t elements = (rows - 1) * row_stride + (columns - 1) * column_stride + 1;
  Storage storage(type, {std::max<int64_t>(elements, 1)});
  Rng rng(1, 0);
  for (int64_t i = 0; i < elements; ++i) {
    auto value = static_cast<float>(2 * rng.uniform() - 1);
    if (type == DType::bf16) {
      storage.tensor().as<uint16_t>()[i] = float_to_bf16(value);
    } else {
      storage.tensor().as<float>()[i] = value;
    }
  }
  return storage;
}

}  // namespace

ProductTimes time_product(Context& ctx, const Product& form) {
  Storage a = random_operand(form.operands, form.m, form.a_row_stride, form.k, form.a_column_stride);
  Storage b = random_operand(form.operands, form.k, form.b_row_stride, form.n, form.b_column_stride);
  Storage c(form.result, {form.m * form.c_row_stride});
  Product p = form;
  p.a = a.tensor().data;
  p.b = b.tensor().data;
  p.c = c.tensor().data;
  auto seconds = [&](Gemm::By by) {
    Stopwatch watch;
    ctx.gemm().run(ctx.pool(), p, by);
    return watch.seconds();
  };
  ProductTimes times;
  auto take = [&](double& best, Gemm::By by) {
    if (!ctx.gemm().has(p, by)) return;
    double now = seconds(by);
    best = best > 0 ? std::min(best, now) : now;
  };
  if (!ctx.gemm().has(p, Gemm::By::own)) seconds(Gemm::By::onednn);  // its refusal, if it has none either
  for (Gemm::By by : {Gemm::By::own, Gemm::By::onednn}) {
    double first = 0;  // prepares primitives and touches memory
    take(first, by);
  }
  Stopwatch watch;
  for (int round = 0; round < kMostRounds && (round < kLeastRounds || watch.seconds() < kEnoughSeconds); ++round) {
    take(times.own, Gemm::By::own);
    take(times.onednn, Gemm::By::onednn);
  }
  return times;
}

Gemm::By faster(Isa isa, const Product& form, const ProductTimes& times) {
  if (times.own == 0 || times.onednn == 0) return times.own > 0 ? Gemm::By::own : Gemm::By::onednn;
  if (own_kernels(isa, form)) return times.onednn < kClearly * times.own ? Gemm::By::onednn : Gemm::By::own;
  return times.own < kClearly * times.onednn ? Gemm::By::own : Gemm::By::onednn;
}

}  // namespace tandem::kernels
