#include "infer/dialogue.h"

#include <algorithm>

#include "base/error.h"

namespace tandem {

std::string make_room(Dialogue& dialogue, int64_t max_seq_len, int64_t answer_tokens, OnFull on_full) {
  std::string left_out;
  bool drop = on_full == OnFull::drop;
  int64_t answer = std::min(answer_tokens, max_seq_len / 4);
  if (drop && dialogue.prompt().tokens() + answer > max_seq_len) left_out = dialogue.shorten(max_seq_len / 2);
  int64_t tokens = dialogue.prompt().tokens(), longest = max_seq_len - 1;
  if (tokens <= longest) return left_out;
  throw InputError(
      {.what = drop ? "text longer than the model's rows" : "the conversation has outgrown the model's rows",
       .got = fmt::format("{} tokens", tokens),
       .expected = fmt::format("at most {}", longest),
       .hint = drop ? "say it in fewer words"
                    : "/undo or /reset make room; with --on-full drop the oldest turns are left out"});
}

}  // namespace tandem
