// What is asked of a model that generates, and what comes of it.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "arch/config.h"
#include "infer/sampler.h"

namespace tandem {

// What the model has read when it starts to write: `read` by prefill, then `opening`, which the first decode feeds.
// Made so that every architecture continues it as it was trained to.
struct Prompt {
  std::vector<int32_t> read;
  int32_t opening = 0;

  // Plain text: the last token opens. InputError when there is none.
  static Prompt continue_text(std::span<const int32_t> ids);
  // A conversation: all of it is read, and the role token of the one who answers opens.
  static Prompt answer(std::span<const int32_t> ids, int32_t role);

  int64_t tokens() const { return static_cast<int64_t>(read.size()) + 1; }
  std::vector<int32_t> ids() const;
};

enum class FinishReason {
  eos,        // the model ended the text; the EOS token is the last id
  stop,       // a stop string
  length,     // max_tokens
  context,    // the sequence is as long as the model's rows
  cancelled,  // the caller's wish
};
std::string_view finish_reason_name(FinishReason reason);

struct GenerationOptions {
  SamplingOptions sampling;
  int64_t max_tokens = 128;
  std::vector<int32_t> eos;  // any of them ends the text
};

struct Generation {
  std::vector<int32_t> ids;                                             // new ones
  std::vector<double> log_probabilities;                                // one per id, when asked for
  std::vector<std::vector<TokenLogProbability>> top_log_probabilities;  // likewise
  FinishReason finish_reason = FinishReason::length;
  int64_t prompt_tokens = 0;
  double prefill_seconds = 0;
  double decode_seconds = 0;

  double tokens_per_second() const { return decode_seconds > 0 ? static_cast<double>(ids.size()) / decode_seconds : 0; }
};

// What to do after a token.
enum class Next { go_on, stop, cancel };

// InputError for ids outside the vocabulary, a prompt that leaves no room below max_seq_len (longer sequences than the
// rows of training have positions that the model has never seen), and options out of range.
void check_generation(const ModelConfig& config, const Prompt& prompt, const GenerationOptions& options);

}  // namespace tandem
