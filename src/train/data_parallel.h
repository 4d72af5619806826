// What ranks that train one model together exchange: gradients, in buckets that set out as soon as the backward pass
// has completed them, losses, and with ZeRO-1 (Rajbhandari et al. 2020, section 5.1) the updated parameters.
//
// Every rank holds all parameters and gradients and works on its share of the rows. With ZeRO each has the optimizer's
// moments of its share of the elements only: gradients are summed where they are used (reduce-scatter), and the updated
// parameters go to everybody (all-gather). Both ways send the same bytes and give the same bits.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <unordered_map>
#include <vector>

#include "dist/communicator.h"
#include "dist/exchange.h"
#include "ops/head.h"
#include "ops/tape.h"
#include "train/optimizer.h"
#include "train/sharding.h"

namespace tandem {

struct DataParallelOptions {
  bool zero = false;            // moments are shared out
  int64_t bucket_elements = 0;  // 0: default_bucket_elements()
};

class DataParallel final : public GradientObserver {
 public:
  // Ranks, context and parameters must outlive it.
  DataParallel(Communicator& ranks, Context& ctx, ParameterStore& parameters, const DataParallelOptions& options);

  Communicator& ranks() { return ranks_; }
  const Sharding& sharding() const { return sharding_; }
  bool zero() const { return zero_; }
  // For the Optimizer: what this rank keeps moments of, by parameter; empty: everything.
  std::vector<ElementRange> owned() const;

  // The tape's observer in the last backward pass of a step: buckets are exchanged while it runs.
  void expect(const void* gradient) override;
  void backward_begins() override;
  void added(const void* gradient) override;

  // Waits until gradients are sums over the ranks: all of them, or with ZeRO those that this rank owns.
  void finish_gradients();
  // Sums over the ranks; `correct` stays this rank's.
  ops::LossSum sum(const ops::LossSum& own);
  // Global L2 norm of `scale` times the summed gradients: the bits of Optimizer::gradient_norm() over all of them.
  double gradient_norm(const Optimizer& optimizer, double scale);
  // With ZeRO, behind an update: everybody gets what the others have updated.
  void finish_parameters();

  // The moments of all parameters on rank 0, for a checkpoint; elsewhere, and without ZeRO, nothing.
  std::deque<Moments> gather_moments(const Optimizer& optimizer);

  // Of the last step, buckets that set out while gradients of others were still missing.
  int64_t early_buckets() const { return early_; }
  // Memory for what arrives.
  int64_t buffer_bytes() const;

 private:
  struct Pending {
    size_t bucket = 0;
    int64_t additions = 0;  // still to come
  };

  std::vector<Stretch> stretches(const std::vector<size_t>& bucket, bool gradients) const;
  void start_complete_buckets();
  void gather(size_t parameter, const Tensor& own, const Tensor& whole);
  double shared_squares();

  Communicator& ranks_;
  Context& ctx_;
  ParameterStore& parameters_;
  bool zero_;
  Sharding sharding_;
  std::vector<std::unique_ptr<Exchange>> gradient_buckets_;
  std::vector<std::unique_ptr<Exchange>> parameter_buckets_;  // with ZeRO
  std::unordered_map<const void*, Pending> pending_;          // by gradient
  std::vector<int64_t> missing_;                              // additions that a bucket waits for
  int64_t all_missing_ = 0;
  size_t started_ = 0;  // buckets; they set out in order
  int64_t early_ = 0;
  // Partial sums of squares, by parameter and unit, and the stretches of them that ranks own.
  std::vector<double> squares_;
  std::unique_ptr<Exchange> square_exchange_;
};

// Bytes that all ranks together send in one step, but for what the training loop decides together. The count that
// Communicator::traffic() shows is this one.
int64_t step_bytes(const ParameterStore& parameters, int ranks, bool zero);

}  // namespace tandem
