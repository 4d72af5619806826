// What is read off the logits of one token: the largest ones and log-probabilities.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace tandem {

// The id of the largest logit, the smallest such id on a tie; NaN never wins. -1 when every logit is NaN.
int32_t largest_logit(std::span<const float> logits);

struct ScoredId {
  float logit;
  int32_t id;
};

// The k largest logits, the largest first and the smaller id first on a tie; fewer when fewer are above -infinity. NaN
// is left out. One pass over the logits with a heap of k; `out` is reused and grows at most once per k.
void select_largest(std::span<const float> logits, int64_t k, std::vector<ScoredId>& out);

// log of the sum of exp(logits), in double, summed by id. NaN counts as -infinity.
double log_sum_exp(std::span<const float> logits);

// log softmax(logits)[id], in double.
double log_probability(std::span<const float> logits, int32_t id);

// e^x for x <= 0, within two units in the last place; 0 below the smallest normal number. Made of additions and
// multiplications alone, so that all machines agree in every bit, which the C library's exp does not promise: it
// chooses its code by the processor.
double portable_exp(double x);

}  // namespace tandem
