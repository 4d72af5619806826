#include "train/run_ranks.h"

#include <array>

#include "base/error.h"
#include "base/hash.h"
#include "dist/collectives.h"
#include "dist/launch.h"

namespace tandem {

RunRanks::RunRanks(Communicator* ranks, const RunConfig& config)
    : ranks_(ranks && ranks->size() > 1 ? ranks : nullptr),
      share_{.passes = config.grad_accum, .rows = config.micro_batch} {
  if (!ranks_) return;
  share_ = share_of_rows(config.micro_batch, config.grad_accum, ranks_->rank(), ranks_->size());
  machine_ranks_ = machine_share(*ranks_).ranks;
}

RunConfig RunRanks::share_of(const RunConfig& config) const {
  RunConfig share = config;
  share.micro_batch = share_.rows;
  share.grad_accum = share_.passes;
  return share;
}

DataParallel* RunRanks::connect(Context& ctx, ParameterStore& parameters, bool zero) {
  if (ranks_) parallel_ = std::make_unique<DataParallel>(*ranks_, ctx, parameters, DataParallelOptions{.zero = zero});
  return parallel_.get();
}

int64_t RunRanks::led(int64_t value) const { return ranks_ ? broadcast(*ranks_, value) : value; }

std::string RunRanks::led(const std::string& text) const { return ranks_ ? broadcast(*ranks_, text) : text; }

std::string RunRanks::first_said(const std::string& own) const {
  if (!ranks_) return own;
  for (const std::string& text : all_gather(*ranks_, own)) {
    if (!text.empty()) return text;
  }
  return "";
}

void RunRanks::require_same(const std::string& text, const char* what) const {
  if (!ranks_) return;
  std::vector<std::string> texts = all_gather(*ranks_, text);
  for (size_t rank = 0; rank < texts.size(); ++rank) {
    if (texts[rank] == texts[0]) continue;
    throw InputError({.what = fmt::format("ranks differ in {}", what),
                      .where = fmt::format("rank {}", rank),
                      .got = texts[rank],
                      .expected = fmt::format("{} as on rank 0", texts[0])});
  }
}

void RunRanks::wait_for_all() const {
  if (ranks_) barrier(*ranks_);
}

int64_t RunRanks::sum(int64_t value) const {
  if (!ranks_) return value;
  int64_t all = 0;
  for (const std::string& text : all_gather(*ranks_, std::to_string(value))) all += std::stoll(text);
  return all;
}

RunRanks::Decision RunRanks::decide(const Decision& own) const {
  if (!ranks_) return own;
  // Sums in which rank 0 alone has a clock.
  std::array<double, kDecisionDoubles> values{leads() ? own.seconds : 0, leads() ? own.step_seconds : 0,
                                              own.stop ? 1.0 : 0.0};
  all_reduce(*ranks_, values);
  return {values[0], values[1], values[2] > 0};
}

void RunRanks::require_same_parameters(const ParameterStore& parameters) const {
  if (!ranks_) return;
  std::string hashes;
  for (const Parameter& p : parameters.all()) {
    const Tensor& t = p.master();
    hashes += hex64(hash64({static_cast<const char*>(t.data), static_cast<size_t>(t.bytes())}));
  }
  std::string own = hex64(hash64(hashes));
  std::vector<std::string> all = all_gather(*ranks_, own);
  for (size_t rank = 0; rank < all.size(); ++rank) {
    if (all[rank] == all[0]) continue;
    throw JobError({.what = "ranks have come to different parameters",
                    .where = fmt::format("rank {}", rank),
                    .got = all[rank],
                    .expected = fmt::format("{} as on rank 0", all[0]),
                    .hint = "is its machine sound, and of the same kind? The earlier checkpoints are good"});
  }
}

}  // namespace tandem
