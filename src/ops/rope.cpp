#include "ops/rope.h"

#include "base/error.h"

namespace tandem::ops {

void rope_in_place(Tape& tape, Var x, const HeadColumns& heads, std::span<const int32_t> positions,
                   const RopeTable& table) {
  for (int32_t p : positions) {
    if (p < 0 || p >= table.cos.rows()) {
      throw InputError({.what = "position beyond the model's longest sequence",
                        .got = fmt::format("{}", p),
                        .expected = fmt::format("0..{}", table.cos.rows() - 1),
                        .hint = "use a shorter prompt or a model with a larger max_seq_len"});
    }
  }
  kernels::rope_apply(tape.context(), heads.of(x->value), positions, table.cos, table.sin, table.pairs, false);
  tape.on_backward([=](Tape& t) {
    if (!x->grad.defined()) return;
    kernels::rope_apply(t.context(), heads.of(x->grad), positions, table.cos, table.sin, table.pairs, true);
  });
}

}  // namespace tandem::ops
