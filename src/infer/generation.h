// What is asked of a model that generates, and what comes of it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
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

// When a block that is written is closed and read: when it has so many tokens, or one of these.
inline constexpr int64_t kNeverFold = 0;
inline constexpr int64_t kFoldByCost = -1;  // infer/folding.h
// "never", "auto" or a number; InputError for anything else.
int64_t parse_fold(const std::string& text, const std::string& where);

// Speculative decoding by lookup (infer/lookup.h): tokens that followed the same ids earlier in the sequence are
// proposed, and one pass writes them all. Of these the sampler takes as many as it draws itself, so that the tokens are
// those of a run without.
struct SpeculationOptions {
  int64_t draft = 0;     // tokens proposed in a pass, at most; 0: off
  int64_t longest = 3;   // so many of the last tokens are looked up first,
  int64_t shortest = 1;  // then fewer, down to this
};

// Beam search (infer/beam_search.h): nothing is drawn; the most probable texts are looked for. Steps 0 to 4 of the
// sampling options act on the model's log-probabilities.
struct BeamOptions {
  int64_t width = 0;            // texts that are followed at a time; 0: no beam search
  double length_penalty = 0;    // above 0 longer texts are preferred, 0: the sum of log-probabilities decides
  bool early_stopping = false;  // as soon as `width` texts are finished
  int64_t best = 1;             // results, at most `width`
};

struct GenerationOptions {
  SamplingOptions sampling;
  int64_t max_tokens = 128;
  std::vector<int32_t> eos;     // any of them ends the text
  std::optional<int64_t> fold;  // none: as the engine's options have it
  SpeculationOptions speculation;
  BeamOptions beams;
  // Given: log-probabilities of every token of the prompt but the first, and of the N most probable ones in its place,
  // as if the model had written the prompt itself from its first token on, with this fold.
  std::optional<int64_t> prompt_log_probabilities;
};

struct Generation {
  std::vector<int32_t> ids;                                             // new ones
  std::vector<double> log_probabilities;                                // one per id, when asked for
  std::vector<std::vector<TokenLogProbability>> top_log_probabilities;  // likewise
  FinishReason finish_reason = FinishReason::length;
  double score = 0;  // of a beam search
  int64_t prompt_tokens = 0;
  double prefill_seconds = 0;
  double decode_seconds = 0;
  int64_t passes = 0;           // in which the tokens were written
  int64_t proposed_tokens = 0;  // by lookup
  int64_t accepted_tokens = 0;  // of these

  double tokens_per_second() const { return decode_seconds > 0 ? static_cast<double>(ids.size()) / decode_seconds : 0; }
};

// One entry per token of the prompt but the first, under the model's own distribution.
struct PromptLogProbabilities {
  std::vector<double> values;
  std::vector<std::vector<TokenLogProbability>> top;
};

// What to do after a token.
enum class Next { go_on, stop, cancel };

// InputError for ids outside the vocabulary, a prompt that leaves no room below max_seq_len (longer sequences than the
// rows of training have positions that the model has never seen), and options out of range.
void check_generation(const ModelConfig& config, const Prompt& prompt, const GenerationOptions& options);

}  // namespace tandem
