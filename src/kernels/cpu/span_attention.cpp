#include "kernels/cpu/span_attention.h"

#include "kernels/cpu/span_attention_backward.h"
#include "kernels/cpu/span_attention_query.h"

namespace tandem::cpu::TANDEM_ISA_NAMESPACE {
namespace {

using namespace attention;

template <class Type>
void pack_keys(float* k_columns, float* v_rows, HeadRows k, HeadRows v, int64_t rows, int64_t head_size) {
  pack_columns<Type>(k_columns, k, rows, head_size / Type::kPerUnit);
  pack_rows<Type>(v_rows, v, rows, head_size);
}

int64_t forward_workspace(int64_t head_size) { return forward_floats<F32>(head_size); }
int64_t backward_workspace(int64_t head_size) { return backward_floats<F32>(head_size); }
int64_t part_workspace(int64_t heads) { return part_floats(heads); }
int64_t width_of_part(int64_t head_size) { return part_width(head_size); }

template <class Type>
constexpr AttentionPath path() {
  return {pack_keys<Type>,       forward_tile<Type>,  forward_part<Type>, merge_parts<Type>,
          pack_query_tile<Type>, backward_tile<Type>, finish_queries};
}

}  // namespace

extern const SpanAttentionKernels kSpanAttention;
const SpanAttentionKernels kSpanAttention = {
    .lanes = kLanes,
    .f32 = path<F32>(),
#if defined(__AVX512BF16__)
    .bf16 = path<Bf16>(),
#else
    .bf16 = {},
#endif
    .forward_workspace = forward_workspace,
    .part_workspace = part_workspace,
    .part_width = width_of_part,
    .backward_workspace = backward_workspace,
};

}  // namespace tandem::cpu::TANDEM_ISA_NAMESPACE
