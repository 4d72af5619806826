// From logits to the next token: one chain of steps that everything which chooses tokens goes through.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/rng.h"
#include "infer/constraint.h"
#include "infer/logits.h"

namespace tandem {

struct TokenBias {
  int32_t id = 0;
  double value = 0;
};

// The steps, in the order in which they act. The defaults change nothing: greedy decoding of the model's own
// distribution. Each step sees the tokens that those before it have left, with probabilities that sum to 1 over them.
struct SamplingOptions {
  // 0. The first tokens that are written are these, whatever the other steps say; `allowed` must hold and `banned` must
  // not hold them, and a constraint must admit them: it is a constraint on the whole text.
  std::vector<int32_t> forced;

  // 1. Which tokens are possible at all.
  std::vector<int32_t> allowed;  // only these; empty: all
  std::vector<int32_t> banned;   // never these, allowed or not
  // Only what keeps the tokens drawn so far on the way to a text of this grammar; none: anything.
  std::shared_ptr<const Constraint> constraint;

  // 2. Tokens that the sequence already holds, prompt included, once per distinct id: positive logits are divided by
  // this, negative ones multiplied (Keskar et al. 2019). 1: off.
  double repetition_penalty = 1;
  // 3. Tokens among those written so far, without the prompt: logit -= frequency_penalty * count + presence_penalty.
  // Negative values make repetition more probable.
  double presence_penalty = 0;
  double frequency_penalty = 0;
  // 4. logit += value; of an id given twice, both.
  std::vector<TokenBias> logit_bias;

  // 5. Logits are divided by it; 0: the largest logit wins, the smaller id on a tie, and nothing below acts.
  double temperature = 0;
  int64_t top_k = 0;   // 6. only the k most probable tokens; 0: all
  double top_p = 1;    // 7. only the fewest most probable tokens that together reach this probability (Holtzman 2020)
  double min_p = 0;    // 8. only tokens with at least this share of the most probable one's probability
  double typical = 1;  // 9. only the fewest tokens that reach this probability, those first whose surprise is nearest
                       // to the entropy (Meister et al. 2022)
  uint64_t seed = 0;   // 10. of the draw among the tokens that are left

  // Measured beside the chain, under the model's own distribution: the logits as given, at temperature 1.
  bool log_probabilities = false;     // of the token chosen
  int64_t top_log_probabilities = 0;  // of so many most probable tokens, and of the token chosen

  // InputError naming the field that is out of range.
  void check(const std::string& where) const;
  // Also of ids outside a vocabulary of `vocab_size` tokens, when no token of it is possible, and when forced tokens
  // are not.
  void check(const std::string& where, int64_t vocab_size) const;
};

struct TokenLogProbability {
  int32_t id = 0;
  double log_probability = 0;
};

// Draws tokens for one sequence. The same options, logits and history give the same tokens on every machine: ties go to
// the smaller id, sums run in a fixed order (by id, or from the largest logit down behind top_k), the draw walks
// through the tokens left by id, and exponentials are portable_exp's. The n-th draw is a function of the seed and n.
// Neither greedy decoding nor top_k sorts the vocabulary, and top_p sorts only as much of it as it keeps.
//
// A copy continues the sequence independently: the state of a request that forks. After the first call with a
// vocabulary next() allocates nothing, except where a constraint meets a place for the first time.
class Sampler {
 public:
  explicit Sampler(const SamplingOptions& options);

  // logits [V], left as they are; `history`: ids of the sequence so far, of which the first `prompt_tokens` were given.
  // A constraint goes on with the token returned: whoever writes another one instead copies the sampler before.
  // InputError when the largest logit is not a finite number (damaged weights), and when no token is possible.
  int32_t next(std::span<const float> logits, std::span<const int32_t> history, size_t prompt_tokens = 0);

  // For searches that choose themselves: the model's log-probabilities [V] behind steps 0 to 4, -infinity for tokens
  // that are impossible. The constraint is the one given, and stays where it is. Valid until the next call. InputError
  // as next(), but for tokens that are all impossible.
  std::span<const float> scores(std::span<const float> logits, std::span<const int32_t> history, size_t prompt_tokens,
                                const ConstraintState& constraint);
  double log_sum() const { return log_sum_; }  // of the exponentials of the logits, of the last scores()
  // Whether no step can make a log-probability positive.
  bool scores_never_positive() const;

  // Of the last next(), when asked for. `top` has the most probable first, the smaller id on a tie; fewer than asked
  // for when fewer have a probability at all.
  // Of options.constraint, with the tokens drawn so far.
  const ConstraintState& constraint() const { return constraint_; }

  double log_probability() const { return log_probability_; }
  std::span<const TokenLogProbability> top() const { return top_; }

 private:
  struct Candidate {
    double weight;  // probability relative to the most probable token, 0..1
    double key;     // keep_mass() goes from small to large
    float logit;
    int32_t id;
  };

  void prepare(size_t vocab_size);
  bool changes_logits() const;
  void adjust(std::span<const int32_t> history, size_t prompt_tokens);
  void check_finite(std::span<const float> logits, int32_t best) const;
  int32_t forced(std::span<const int32_t> history, size_t prompt_tokens) const;
  void mask();
  void penalise_repetition(std::span<const int32_t> history);
  void penalise_counts(std::span<const int32_t> written);
  bool measured() const { return options_.log_probabilities || options_.top_log_probabilities > 0; }
  void measure(std::span<const float> logits);
  int32_t take(std::span<const float> logits, int32_t id);

  int32_t draw(std::span<const float> logits, double largest);
  void collect(std::span<const float> logits, double largest);
  void keep_top_p();
  void keep_min_p();
  void keep_typical();
  void keep_mass(double share, double total);
  double total_weight() const;
  int32_t pick();

  SamplingOptions options_;
  Rng rng_;
  ConstraintState constraint_;
  size_t vocab_size_ = 0;
  std::vector<uint64_t> possible_;  // one bit per id; empty: all
  std::vector<float> logits_;       // behind steps 1 to 4
  std::vector<int32_t> counts_;     // by id; zero between calls
  std::vector<ScoredId> largest_;
  std::vector<Candidate> candidates_;
  bool by_id_ = true;  // the candidates' order
  double log_sum_ = 0;
  double log_probability_ = 0;
  std::vector<TokenLogProbability> top_;
};

}  // namespace tandem
