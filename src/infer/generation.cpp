#include "infer/generation.h"

#include <charconv>
#include <cmath>

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

int64_t parse_fold(const std::string& text, const std::string& where) {
  if (text == "never") return kNeverFold;
  if (text == "auto") return kFoldByCost;
  int64_t tokens = 0;
  auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), tokens);
  if (problem == std::errc() && end == text.data() + text.size() && tokens > 0) return tokens;
  throw InputError({.what = "bad length of blocks",
                    .where = where,
                    .got = "'" + text + "'",
                    .expected = "never, auto or a number of tokens above 0"});
}

namespace {

void require(bool holds, const char* field, int64_t got, const char* expected) {
  if (holds) return;
  throw InputError(
      {.what = fmt::format("bad value of '{}'", field), .got = fmt::format("{}", got), .expected = expected});
}

void check_beams(const GenerationOptions& options) {
  const BeamOptions& beams = options.beams;
  require(beams.width >= 0, "beams.width", beams.width, "0 (no beam search) or more");
  if (beams.width == 0) return;
  require(beams.best >= 1 && beams.best <= beams.width, "beams.best", beams.best, "1 up to the width");
  if (!std::isfinite(beams.length_penalty)) {
    throw InputError({.what = "bad value of 'beams.length_penalty'", .expected = "a number"});
  }
  if (options.sampling.temperature != 0) {
    throw InputError({.what = "beam search draws nothing", .expected = "temperature 0"});
  }
  if (options.speculation.draft > 0) {
    throw InputError({.what = "beam search and speculative decoding exclude each other"});
  }
}

void check_options(const GenerationOptions& options) {
  require(options.max_tokens >= 1, "max_tokens", options.max_tokens, "at least 1");
  if (options.fold) require(*options.fold >= kFoldByCost, "fold", *options.fold, "a number of tokens");
  const SpeculationOptions& speculation = options.speculation;
  require(speculation.draft >= 0, "speculation.draft", speculation.draft, "0 (off) or more");
  require(speculation.shortest >= 1, "speculation.shortest", speculation.shortest, "at least 1");
  require(speculation.longest >= speculation.shortest, "speculation.longest", speculation.longest,
          "no less than the shortest");
  if (options.prompt_log_probabilities) {
    require(*options.prompt_log_probabilities >= 0, "prompt_log_probabilities", *options.prompt_log_probabilities,
            "0 (only of the prompt's tokens) or more");
  }
  check_beams(options);
}

}  // namespace

void check_generation(const ModelConfig& config, const Prompt& prompt, const GenerationOptions& options) {
  options.sampling.check("generation", config.vocab_size);
  check_options(options);
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
