// Generation of one sequence at a time by one model.
#pragma once

#include <functional>

#include "infer/engine.h"

namespace tandem {

class Generator {
 public:
  // Both must outlive the generator; the model's weights are only read.
  // Room for so many sequences: the beams of a search, and one more for log-probabilities of the prompt.
  Generator(Context& ctx, Model& model, int64_t sequences = 1)
      : Generator(ctx, model, room_for(model.config(), sequences)) {}
  // With other options for the engine, for example a folder of prefixes.
  Generator(Context& ctx, Model& model, const EngineOptions& options) : engine_(ctx, model, options) {}

  // Address space for sequences of the model's rows; an encoder-decoder's BOS comes on top of them.
  static EngineOptions room_for(const ModelConfig& config, int64_t sequences) {
    int64_t tokens = config.max_seq_len + 1;
    if (sequences > 1) tokens = sequences * (tokens + kPageTokens);
    return {.cache = {.tokens = tokens}, .most_sequences = sequences, .reuse_prefixes = false};
  }

  using OnToken = std::function<Next(int32_t id)>;
  // `cancelled` is asked before each pass, of the prompt as well. InputError as check_generation(), and when the
  // weights give logits that are not numbers.
  Generation run(const Prompt& prompt, const GenerationOptions& options, const OnToken& on_token = {},
                 const std::function<bool()>& cancelled = {});
  // The same with all that is known: the other texts of a beam search, the prompt's log-probabilities.
  GenerationResult run_all(const Prompt& prompt, const GenerationOptions& options, const OnToken& on_token = {},
                           const std::function<bool()>& cancelled = {});

 private:
  Engine engine_;
};

}  // namespace tandem
