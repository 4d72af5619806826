#include "product_choices.h"

#include <algorithm>
#include <map>
#include <utility>

#include "kernels/gemm.h"

namespace tandem::app {
namespace {

using WeightSize = std::pair<int64_t, int64_t>;  // outputs, inputs

constexpr int64_t kHeadElements = int64_t{8} << 20, kHeadPadding = 32;  // of a chunk of logits (ops/head.cpp)

// As ops/linear.h and ops/head.h multiply: the weight lies in memory as [outputs, inputs], rows of logits have a gap.
Product forward(const WeightSize& w, int64_t rows, int64_t gap, DType type) {
  auto [outputs, inputs] = w;
  Product p{.m = rows, .n = outputs, .k = inputs};
  p.a_row_stride = inputs;
  p.b_row_stride = 1;
  p.b_column_stride = inputs;
  p.c_row_stride = outputs + gap;
  p.operands = p.result = type;
  return p;
}

Product input_gradient(const WeightSize& w, int64_t rows, int64_t gap, DType type) {
  auto [outputs, inputs] = w;
  Product p{.m = rows, .n = inputs, .k = outputs};
  p.a_row_stride = outputs + gap;
  p.b_row_stride = inputs;
  p.c_row_stride = inputs;
  p.operands = p.result = type;
  return p;
}

Product weight_gradient(const WeightSize& w, int64_t rows, int64_t gap, DType type) {
  auto [outputs, inputs] = w;
  Product p{.m = outputs, .n = inputs, .k = rows};
  p.a_row_stride = 1;
  p.a_column_stride = outputs + gap;
  p.b_row_stride = inputs;
  p.c_row_stride = inputs;
  p.operands = type;
  p.accumulate = true;
  return p;
}

}  // namespace

OrderedJson product_choices(Context& ctx, const Model& model, const ModelConfig& config, const Precision& precision) {
  std::map<WeightSize, int64_t> sizes;
  for (const Parameter& p : model.parameters().all()) {
    if (ParameterStore::packs(p)) ++sizes[{p.shape()[0], p.shape()[1]}];
  }
  OrderedJson list = OrderedJson::array();
  for (const auto& [size, weights] : sizes) {
    bool head = size.first == config.vocab_size;
    int64_t rows = config.max_seq_len;
    if (head) rows = std::clamp<int64_t>(kHeadElements / size.first, 1, rows);
    int64_t gap = head ? kHeadPadding : 0;
    DType type = precision.activation;
    auto name = [&](const Product& p) { return ctx.gemm().implementation(p); };
    list.push_back({{"outputs", size.first},
                    {"inputs", size.second},
                    {"weights", weights},
                    {"rows", rows},
                    {"forward", name(forward(size, rows, gap, type))},
                    {"input_gradient", name(input_gradient(size, rows, gap, type))},
                    {"weight_gradient", name(weight_gradient(size, rows, gap, type))}});
  }
  return list;
}

}  // namespace tandem::app
