// Generation of one sequence at a time by one model.
#pragma once

#include <functional>

#include "infer/engine.h"

namespace tandem {

class Generator {
 public:
  // Both must outlive the generator; the model's weights are only read.
  Generator(Context& ctx, Model& model) : engine_(ctx, model, for_one_sequence(model.config())) {}

  using OnToken = std::function<Next(int32_t id)>;
  // InputError as check_generation(), and when the weights give logits that are not numbers.
  Generation run(const Prompt& prompt, const GenerationOptions& options, const OnToken& on_token = {});

 private:
  // Address space for one sequence of the model's rows; an encoder-decoder's BOS comes on top of them.
  static EngineOptions for_one_sequence(const ModelConfig& config) {
    return {.cache = {.tokens = config.max_seq_len + 1}, .most_sequences = 1, .reuse_prefixes = false};
  }

  Engine engine_;
};

}  // namespace tandem
