#include "infer/generator.h"

#include <algorithm>

#include "base/clock.h"
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

Generator::Generator(Context& ctx, Model& model)
    : model_(model),
      tape_(ctx, model.parameters().precision(), Tape::Mode::no_grad),
      logits_(static_cast<size_t>(model.config().vocab_size)) {}

void Generator::check(const Prompt& prompt, const GenerationOptions& options) const {
  options.sampling.check("generation", model_.config().vocab_size);
  if (options.max_tokens < 1) {
    throw InputError(
        {.what = "bad value of 'max_tokens'", .got = fmt::format("{}", options.max_tokens), .expected = "at least 1"});
  }
  int64_t vocabulary = model_.config().vocab_size;
  for (int32_t id : prompt.ids()) {
    if (id < 0 || id >= vocabulary) {
      throw InputError({.what = "token outside the model's vocabulary",
                        .where = "prompt",
                        .got = fmt::format("{}", id),
                        .expected = fmt::format("0..{}", vocabulary - 1)});
    }
  }
  int64_t longest = model_.config().max_seq_len - 1;
  if (prompt.tokens() > longest) {
    throw InputError({.what = "prompt longer than the model's context",
                      .got = fmt::format("{} tokens", prompt.tokens()),
                      .expected = fmt::format("at most {} (max_seq_len - 1)", longest)});
  }
}

Generation Generator::run(const Prompt& prompt, const GenerationOptions& options, const OnToken& on_token) {
  check(prompt, options);
  Generation generation;
  generation.prompt_tokens = prompt.tokens();
  int64_t capacity = std::min(model_.config().max_seq_len, prompt.tokens() + options.max_tokens);
  std::unique_ptr<State> state = model_.new_state(capacity);
  Stopwatch clock;
  tape_.reset();
  model_.prefill(tape_, *state, prompt.read);
  generation.prefill_seconds = clock.restart();
  generation.finish_reason = write(*state, prompt, options, on_token, generation);
  generation.decode_seconds = clock.seconds();
  return generation;
}

FinishReason Generator::write(State& state, const Prompt& prompt, const GenerationOptions& options,
                              const OnToken& on_token, Generation& generation) {
  Sampler sampler(options.sampling);
  std::vector<int32_t> history = prompt.ids();
  while (true) {
    tape_.reset();
    model_.decode(tape_, state, history.back(), logits_);
    int32_t id = sampler.next(logits_, history, static_cast<size_t>(prompt.tokens()));
    history.push_back(id);
    generation.ids.push_back(id);
    if (options.sampling.log_probabilities) generation.log_probabilities.push_back(sampler.log_probability());
    if (options.sampling.top_log_probabilities > 0) {
      generation.top_log_probabilities.emplace_back(sampler.top().begin(), sampler.top().end());
    }
    Next next = on_token ? on_token(id) : Next::go_on;
    if (std::find(options.eos.begin(), options.eos.end(), id) != options.eos.end()) return FinishReason::eos;
    if (next != Next::go_on) return next == Next::stop ? FinishReason::stop : FinishReason::cancelled;
    if (static_cast<int64_t>(generation.ids.size()) == options.max_tokens) return FinishReason::length;
    if (static_cast<int64_t>(history.size()) == model_.config().max_seq_len) return FinishReason::context;
  }
}

}  // namespace tandem
