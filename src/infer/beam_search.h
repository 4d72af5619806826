// Beam search: of all continuations the search keeps those with the largest sums of log-probabilities.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "infer/generation.h"

namespace tandem {

// Which beams go on and which texts are finished. Knows nothing of models: it is offered scores and says what to write.
//
// Every step looks at the width * (1 + number of EOS tokens) best continuations by one token: the larger sum first, on
// a tie the beam that stood before, then the smaller id. One that ends in EOS is finished when it is among the best
// `width`, otherwise dropped; of the others the first `width` go on. Texts that reach the end of what may be written
// are finished as they stand. The `width` best finished ones are kept, by sum / ((5 + n) / 6)^length_penalty with n
// tokens, EOS included (Wu et al. 2016, without their coverage penalty); on a tie the one that was finished earlier.
//
// The search ends when no beam is left; with options.early_stopping, when `width` texts are finished; else when they
// are and no beam can still become better than the worst of them, provided that scores are never positive.
class BeamSearch {
 public:
  // At most `most_tokens` are written, where `at_end` says why no more.
  BeamSearch(const BeamOptions& options, std::vector<int32_t> eos, int64_t most_tokens, FinishReason at_end,
             bool scores_never_positive);

  // The beams that go on; one, without a token, before the first step.
  int64_t live() const { return static_cast<int64_t>(beams_.size()); }
  std::span<const int32_t> ids(int64_t beam) const { return beams_[static_cast<size_t>(beam)].written.ids; }
  bool done() const { return beams_.empty(); }

  // What is told of the tokens besides, under the model's own distribution; empty where it is not asked for.
  struct Measured {
    std::span<const float> logits;  // [V]
    double log_sum = 0;             // of their exponentials
    std::vector<TokenLogProbability> top;
  };
  // Once for each live beam in a step, in order: log-probabilities [V] as the chain has changed them; -infinity where a
  // token is impossible, NaN counts as that. `measured.logits` must be
  // valid until advance().
  void offer(std::span<const float> scores, Measured measured);
  void offer(std::span<const float> scores) { offer(scores, Measured()); }

  // What each of the next beams goes on from: the place of a beam of this step, and the token to write behind it.
  struct Origin {
    int64_t beam;
    int32_t id;
  };
  // Ends the step. Valid until the next.
  std::span<const Origin> advance();

  // The best texts, at most options.best, the best first. With fewer than that finished no others were possible.
  std::vector<Generation> take_best();

 private:
  struct Beam {
    Generation written;
    double sum = 0;
  };
  struct Candidate {
    double sum;
    int64_t beam;
    int32_t id;
  };
  static bool before(const Candidate& a, const Candidate& b);

  bool ends(int32_t id) const;
  double penalty(int64_t tokens) const;
  Beam extended(const Candidate& candidate) const;
  void finish(Beam beam, FinishReason reason);
  bool settled() const;

  BeamOptions options_;
  std::vector<int32_t> eos_;
  int64_t most_tokens_;
  FinishReason at_end_;
  bool never_positive_;
  std::vector<Beam> beams_;
  std::vector<Beam> next_;
  std::vector<Generation> finished_;   // the best first
  std::vector<Candidate> candidates_;  // a heap with the worst in front
  std::vector<Measured> measured_;
  std::vector<Origin> origins_;
  int64_t tokens_ = 0;  // of each beam
};

}  // namespace tandem
