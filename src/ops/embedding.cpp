#include "ops/embedding.h"

#include "base/error.h"
#include "kernels/embedding.h"

namespace tandem::ops {

Var embedding(Tape& tape, const Weight& table, std::span<const int32_t> ids) {
  int64_t vocab = table.value.shape[0], dim = table.value.shape[1];
  for (size_t t = 0; t < ids.size(); ++t) {
    if (ids[t] < 0 || ids[t] >= vocab) {
      throw InputError({.what = "token id outside the vocabulary",
                        .where = fmt::format("token {}", t),
                        .got = fmt::format("{}", ids[t]),
                        .expected = fmt::format("0..{}", vocab - 1),
                        .hint = "was the text encoded with this model's tokenizer?"});
    }
  }
  Var out = tape.residual({static_cast<int64_t>(ids.size()), dim});
  kernels::embedding_forward(tape.context(), out->value, table.value, ids);
  tape.on_backward(
      [out, grad = table.grad, ids](Tape& t) {
        if (!out->grad.defined()) return;
        if (grad.defined()) kernels::embedding_backward(t.context(), grad, out->grad, ids);
        t.drop_gradient(out);
      },
      {table.grad});
  return out;
}

}  // namespace tandem::ops
