#include "infer/beam_search.h"

#include <algorithm>
#include <cmath>

#include "infer/logits.h"

namespace tandem {

BeamSearch::BeamSearch(const BeamOptions& options, std::vector<int32_t> eos, int64_t most_tokens, FinishReason at_end,
                       bool scores_never_positive)
    : options_(options),
      eos_(std::move(eos)),
      most_tokens_(most_tokens),
      at_end_(at_end),
      never_positive_(scores_never_positive),
      beams_(1) {}

bool BeamSearch::before(const Candidate& a, const Candidate& b) {
  if (a.sum != b.sum) return a.sum > b.sum;
  return a.beam != b.beam ? a.beam < b.beam : a.id < b.id;
}

bool BeamSearch::ends(int32_t id) const { return std::find(eos_.begin(), eos_.end(), id) != eos_.end(); }

double BeamSearch::penalty(int64_t tokens) const {
  return std::pow((5 + static_cast<double>(tokens)) / 6, options_.length_penalty);
}

void BeamSearch::offer(std::span<const float> scores, Measured measured) {
  auto beam = static_cast<int64_t>(measured_.size());
  measured_.push_back(std::move(measured));
  const double sum = beams_[static_cast<size_t>(beam)].sum;
  auto most = static_cast<size_t>(options_.width) * (1 + eos_.size());
  for (size_t v = 0; v < scores.size(); ++v) {
    if (std::isnan(scores[v]) || std::isinf(scores[v])) continue;
    Candidate candidate{sum + static_cast<double>(scores[v]), beam, static_cast<int32_t>(v)};
    if (candidates_.size() == most) {
      if (!before(candidate, candidates_.front())) continue;
      std::pop_heap(candidates_.begin(), candidates_.end(), before);
      candidates_.pop_back();
    }
    candidates_.push_back(candidate);
    std::push_heap(candidates_.begin(), candidates_.end(), before);
  }
}

BeamSearch::Beam BeamSearch::extended(const Candidate& candidate) const {
  auto from = static_cast<size_t>(candidate.beam);
  Beam beam = beams_[from];
  const Measured& measured = measured_[from];
  beam.sum = candidate.sum;
  beam.written.ids.push_back(candidate.id);
  if (!measured.logits.empty()) {
    double logit = static_cast<double>(measured.logits[static_cast<size_t>(candidate.id)]);
    beam.written.log_probabilities.push_back(logit - measured.log_sum);
  }
  if (!measured.top.empty()) beam.written.top_log_probabilities.push_back(measured.top);
  return beam;
}

std::span<const BeamSearch::Origin> BeamSearch::advance() {
  std::sort_heap(candidates_.begin(), candidates_.end(), before);
  ++tokens_;
  next_.clear();
  origins_.clear();
  auto width = static_cast<size_t>(options_.width);
  for (size_t rank = 0; rank < candidates_.size() && next_.size() < width; ++rank) {
    const Candidate& candidate = candidates_[rank];
    if (!ends(candidate.id)) {
      next_.push_back(extended(candidate));
      origins_.push_back({candidate.beam, candidate.id});
    } else if (rank < width) {
      finish(extended(candidate), FinishReason::eos);
    }
  }
  candidates_.clear();
  measured_.clear();
  beams_.swap(next_);
  if (tokens_ == most_tokens_) {
    for (Beam& beam : beams_) finish(std::move(beam), at_end_);
    beams_.clear();
  }
  if (settled()) beams_.clear();
  if (beams_.empty()) origins_.clear();
  return origins_;
}

void BeamSearch::finish(Beam beam, FinishReason reason) {
  Generation text = std::move(beam.written);
  text.finish_reason = reason;
  text.score = beam.sum / penalty(static_cast<int64_t>(text.ids.size()));
  auto worse = [&](const Generation& other) { return other.score < text.score; };
  finished_.insert(std::find_if(finished_.begin(), finished_.end(), worse), std::move(text));
  if (static_cast<int64_t>(finished_.size()) > options_.width) finished_.pop_back();
}

bool BeamSearch::settled() const {
  if (static_cast<int64_t>(finished_.size()) < options_.width || beams_.empty()) return false;
  if (options_.early_stopping) return true;
  // A sum that only falls is worth most under the largest penalty that is still to come.
  double largest = std::max(penalty(tokens_ + 1), penalty(most_tokens_));
  return never_positive_ && beams_.front().sum / largest <= finished_.back().score;
}

std::vector<Generation> BeamSearch::take_best() {
  if (static_cast<int64_t>(finished_.size()) > options_.best) finished_.resize(static_cast<size_t>(options_.best));
  return std::move(finished_);
}

}  // namespace tandem
