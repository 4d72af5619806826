// Golden cases of Mu (github microsoft/encoder-decoder-slm): a training pass with its gradients, the same weights with
// query heads in the other order and with rotary bases that follow the length, greedy generation, and the distribution
// from which its sampler draws.
#pragma once

#include "eval/parity.h"

namespace tandem {

bool is_golden_mu_case(const Json& json);
ModelConfig golden_mu_config(const Json& json, const std::string& where);

// What authors_parameter_names() has no word for: puts the query heads of weights or of gradients, which are those of
// `ours` in the case's order, into ours. Nothing for other models.
void adopt_query_heads(const std::string& ours, const Tensor& t, const ModelConfig& config);

// Training pass, gradients, variants and generation, where the case has them.
ParityReport check_mu(Context& ctx, const GoldenCase& c, const Precision& precision, bool judge);

}  // namespace tandem
