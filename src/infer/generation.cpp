#include "infer/generation.h"

#include "base/error.h"

namespace tandem {

Prompt Prompt::continue_text(std::span<const int32_t> ids) {
  if (ids.empty()) throw InputError({.what = "empty prompt", .expected = "at least one token"});
  return {.read = {ids.begin(), ids.end() - 1}, .opening = ids.back()};
}

Prompt Prompt::answer(std::span<const int32_t> ids, int32_t role) {
  if (ids.empty()) throw InputError({.what = "empty prompt", .expected = "at least one token"});
  return {.read = {ids.begin(), ids.end()}, .opening = role};
}

std::vector<int32_t> Prompt::ids() const {
  std::vector<int32_t> all = read;
  all.push_back(opening);
  return all;
}

std::string_view finish_reason_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::eos: return "eos";
    case FinishReason::stop: return "stop";
    case FinishReason::length: return "length";
    case FinishReason::context: return "context";
    case FinishReason::cancelled: return "cancelled";
  }
  return "?";
}

void check_generation(const ModelConfig& config, const Prompt& prompt, const GenerationOptions& options) {
  options.sampling.check("generation", config.vocab_size);
  if (options.max_tokens < 1) {
    throw InputError(
        {.what = "bad value of 'max_tokens'", .got = fmt::format("{}", options.max_tokens), .expected = "at least 1"});
  }
  int64_t vocabulary = config.vocab_size;
  for (int32_t id : prompt.ids()) {
    if (id < 0 || id >= vocabulary) {
      throw InputError({.what = "token outside the model's vocabulary",
                        .where = "prompt",
                        .got = fmt::format("{}", id),
                        .expected = fmt::format("0..{}", vocabulary - 1)});
    }
  }
  int64_t longest = config.max_seq_len - 1;
  if (prompt.tokens() > longest) {
    throw InputError({.what = "prompt longer than the model's context",
                      .got = fmt::format("{} tokens", prompt.tokens()),
                      .expected = fmt::format("at most {} (max_seq_len - 1)", longest)});
  }
}

}  // namespace tandem
