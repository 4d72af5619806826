// From logits to the next token.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/rng.h"

namespace tandem {

// In the order in which they act. The defaults change nothing: greedy decoding of the model's own distribution.
struct SamplingOptions {
  // Logits of tokens that the sequence already holds: divided by this when positive, multiplied when negative (Keskar
  // et al. 2019). 1: off.
  double repetition_penalty = 1;
  double temperature = 0;  // logits are divided by it; 0: the largest logit wins, and nothing below acts
  int64_t top_k = 0;       // only the k most probable tokens; 0: all
  double top_p = 1;        // only the fewest most probable tokens that together have this probability (Holtzman 2020)
  double min_p = 0;        // only tokens with at least this share of the most probable one's probability
  uint64_t seed = 0;

  // InputError naming the field that is out of range.
  void check(const std::string& where) const;
};

// Draws tokens for one sequence. The same options, logits and history give the same tokens on every machine; ties go to
// the smaller id.
class Sampler {
 public:
  explicit Sampler(const SamplingOptions& options);

  // logits [V] are changed by the repetition penalty; `history`: ids of the sequence so far, prompt included.
  // InputError when no logit is a number (weights that are not finite).
  int32_t next(std::span<float> logits, std::span<const int32_t> history);

 private:
  struct Candidate {
    float logit;
    int32_t id;
  };

  void penalise(std::span<float> logits, std::span<const int32_t> history) const;
  void keep_top_k();
  void keep_top_p(double largest);
  void keep_min_p(double largest);
  int32_t draw(double largest);
  double weight(const Candidate& candidate, double largest) const;

  SamplingOptions options_;
  Rng rng_;
  std::vector<Candidate> candidates_;
};

// The id of the largest logit, the smallest such id on a tie; NaN never wins. -1 when every logit is NaN.
int32_t largest_logit(std::span<const float> logits);

// log softmax(logits)[id], in double.
double log_probability(std::span<const float> logits, int32_t id);

}  // namespace tandem
