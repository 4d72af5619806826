// Log-probabilities of prompts: a state of its own writes the prompt, piece by piece.
#include <algorithm>

#include "base/error.h"
#include "infer/engine.h"
#include "infer/logits.h"

namespace tandem {
namespace {

constexpr int64_t kMeasuredTokens = kPageTokens;  // in a pass: each has a row of logits

}  // namespace

int64_t Engine::measure_prompts(int64_t budget) {
  pieces_.clear();
  int64_t left = std::min(budget, kMeasuredTokens);
  const int64_t most = left;
  std::vector<Request*> measured;
  for (auto& request : reading_) {
    if (!request->measuring || left == 0) continue;
    State& state = *request->measuring;
    std::span<const int32_t> rest =
        std::span(request->asked.prompt.read).subspan(static_cast<size_t>(request->measured));
    auto count = std::min(left, static_cast<int64_t>(rest.size()));
    if (request->fold > 0) {
      if (state.written() >= request->fold && !state.unread_block().empty()) {
        tape_.reset();
        model_.fold(tape_, state);
        reserve(*request, state, 0,
                static_cast<int64_t>(rest.size()));  // succeeds: the pages for it were there a moment ago
      }
      // Where writing is reading the block goes on.
      if (state.written() < request->fold) count = std::min(count, request->fold - state.written());
    }
    pieces_.push_back({&state, rest.first(static_cast<size_t>(count))});
    measured.push_back(request.get());
    left -= count;
  }
  if (pieces_.empty()) return 0;
  tape_.reset();
  Tensor logits = logits_of(most - left);
  model_.write(tape_, pieces_, logits);
  int64_t row = 0;
  for (size_t i = 0; i < measured.size(); ++i) {
    auto count = static_cast<int64_t>(pieces_[i].ids.size());
    take_measures(*measured[i], logits, row, count);
    row += count;
  }
  return most - left;
}

void Engine::take_measures(Request& request, const Tensor& logits, int64_t row, int64_t count) {
  const Prompt& prompt = request.asked.prompt;
  const int64_t top = *request.asked.options.prompt_log_probabilities;
  PromptLogProbabilities& out = request.result.prompt;
  std::vector<ScoredId> largest;
  for (int64_t i = 0; i < count; ++i) {
    std::span<const float> own = row_of(logits, row + i);
    auto next = static_cast<size_t>(++request.measured);
    int32_t id = next < prompt.read.size() ? prompt.read[next] : prompt.opening;
    double log_sum = log_sum_exp(own);
    out.values.push_back(static_cast<double>(own[static_cast<size_t>(id)]) - log_sum);
    select_largest(own, top, largest);
    std::vector<TokenLogProbability>& list = out.top.emplace_back();
    for (const ScoredId& each : largest) list.push_back({each.id, static_cast<double>(each.logit) - log_sum});
  }
  if (request.measured == static_cast<int64_t>(prompt.read.size())) request.measuring.reset();
}

}  // namespace tandem
