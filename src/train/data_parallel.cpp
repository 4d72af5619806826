#include "train/data_parallel.h"

#include <array>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "dist/collectives.h"
#include "kernels/adamw.h"
#include "kernels/elementwise.h"

namespace tandem {
namespace {

constexpr int kSquaresTag = kFirstFreeTag;  // and the one behind
constexpr int kMomentsTag = kFirstFreeTag + 2;
constexpr int kBucketsTag = kFirstFreeTag + 4;  // two for each exchange of a bucket

int64_t units_in(const ElementRange& range) { return (range.size() + kShardUnit - 1) / kShardUnit; }

int64_t units_of(const Parameter& p) { return units_in({0, p.shape().elements()}); }

}  // namespace

DataParallel::DataParallel(Communicator& ranks, Context& ctx, ParameterStore& parameters,
                           const DataParallelOptions& options)
    : ranks_(ranks),
      ctx_(ctx),
      parameters_(parameters),
      zero_(options.zero),
      sharding_(parameters, ranks.size(),
                options.bucket_elements > 0 ? options.bucket_elements
                                            : default_bucket_elements(parameters.elements(), ranks.size())) {
  int tag = kBucketsTag;
  for (size_t i = 0; i < sharding_.buckets().size(); ++i, tag += 4) {
    const std::vector<size_t>& bucket = sharding_.buckets()[i];
    for (size_t index : bucket) pending_[parameters.all()[index].grad().data] = {.bucket = i};
    gradient_buckets_.push_back(std::make_unique<Exchange>(
        ranks, stretches(bucket, true), zero_ ? ExchangeKind::reduce_scatter : ExchangeKind::all_reduce, tag));
    if (!zero_) continue;
    parameter_buckets_.push_back(
        std::make_unique<Exchange>(ranks, stretches(bucket, false), ExchangeKind::all_gather, tag + 2));
  }
  missing_.assign(gradient_buckets_.size(), 0);
}

std::vector<Stretch> DataParallel::stretches(const std::vector<size_t>& bucket, bool gradients) const {
  std::vector<Stretch> list;
  for (size_t index : bucket) {
    const Parameter& p = parameters_.all()[index];
    for (int rank = 0; rank < ranks_.size(); ++rank) {
      ElementRange range = sharding_.range(index, rank);
      if (range.size() > 0) list.push_back({elements_of(gradients ? p.grad() : p.master(), range), rank});
    }
  }
  return list;
}

std::vector<ElementRange> DataParallel::owned() const {
  std::vector<ElementRange> ranges;
  if (!zero_) return ranges;
  for (size_t i = 0; i < parameters_.all().size(); ++i) ranges.push_back(sharding_.range(i, ranks_.rank()));
  return ranges;
}

void DataParallel::expect(const void* gradient) {
  Pending& pending = pending_.at(gradient);
  ++pending.additions;
  ++missing_[pending.bucket];
  ++all_missing_;
}

void DataParallel::backward_begins() {
  started_ = 0;
  early_ = 0;
  start_complete_buckets();
}

void DataParallel::added(const void* gradient) {
  Pending& pending = pending_.at(gradient);
  --pending.additions;
  --missing_[pending.bucket];
  --all_missing_;
  start_complete_buckets();
  for (size_t i = 0; i < started_; ++i) gradient_buckets_[i]->progress();
}

// In order, on all ranks alike. Those of the last layer come first; a parameter that no operation adds to any more is
// complete from the beginning.
void DataParallel::start_complete_buckets() {
  while (started_ < gradient_buckets_.size() && missing_[started_] == 0) {
    gradient_buckets_[started_++]->start();
    if (all_missing_ > 0) ++early_;
  }
}

void DataParallel::finish_gradients() {
  if (started_ < gradient_buckets_.size()) throw LogicError({.what = "gradients that the backward pass left open"});
  for (auto& bucket : gradient_buckets_) bucket->wait();
}

ops::LossSum DataParallel::sum(const ops::LossSum& own) {
  std::array<double, 2> values{own.sum, static_cast<double>(own.tokens)};
  all_reduce(ranks_, values);
  return {.sum = values[0], .tokens = static_cast<int64_t>(values[1]), .correct = own.correct};
}

double DataParallel::gradient_norm(const Optimizer& optimizer, double scale) {
  return zero_ ? std::sqrt(shared_squares()) * scale : optimizer.gradient_norm(scale);
}

// The sum that kernels::sum_of_squares forms: over the units of a parameter from the left, then over parameters.
double DataParallel::shared_squares() {
  if (!square_exchange_) {
    int64_t units = 0;
    for (const Parameter& p : parameters_.all()) units += units_of(p);
    squares_.resize(static_cast<size_t>(units));
    std::vector<Stretch> list;
    double* place = squares_.data();
    for (size_t i = 0; i < parameters_.all().size(); ++i) {
      for (int rank = 0; rank < ranks_.size(); ++rank) {
        ElementRange range = sharding_.range(i, rank);
        if (range.size() == 0) continue;
        list.push_back({Tensor(place + range.begin / kShardUnit, DType::f64, {units_in(range)}), rank});
      }
      place += units_of(parameters_.all()[i]);
    }
    square_exchange_ = std::make_unique<Exchange>(ranks_, std::move(list), ExchangeKind::all_gather, kSquaresTag);
  }
  double* place = squares_.data();
  for (size_t i = 0; i < parameters_.all().size(); ++i) {
    const Parameter& p = parameters_.all()[i];
    ElementRange own = sharding_.range(i, ranks_.rank());
    for (int64_t begin = own.begin; begin < own.end; begin += kShardUnit) {
      ElementRange unit{begin, std::min(own.end, begin + kShardUnit)};
      place[begin / kShardUnit] = kernels::sum_of_squares(ctx_, elements_of(p.grad(), unit));
    }
    place += units_of(p);
  }
  square_exchange_->start();
  square_exchange_->wait();
  double squares = 0;
  const double* unit = squares_.data();
  for (const Parameter& p : parameters_.all()) {
    double sum = 0;
    for (int64_t n = units_of(p); n > 0; --n) sum += *unit++;
    squares += sum;
  }
  return squares;
}

void DataParallel::finish_parameters() {
  if (!zero_) return;
  for (auto& bucket : parameter_buckets_) bucket->start();
  for (size_t i = 0; i < parameter_buckets_.size(); ++i) {
    parameter_buckets_[i]->wait();
    for (size_t index : sharding_.buckets()[i]) {
      Parameter& p = parameters_.all()[index];
      if (p.has_own_compute()) kernels::convert(ctx_, p.compute(), p.master());
    }
  }
}

std::deque<Moments> DataParallel::gather_moments(const Optimizer& optimizer) {
  std::deque<Moments> all;
  if (!zero_) return all;
  for (size_t i = 0; i < parameters_.all().size(); ++i) {
    const Shape& shape = parameters_.all()[i].shape();
    ElementRange whole{0, shape.elements()};
    if (ranks_.rank() == 0) all.emplace_back(optimizer.config().state, shape, whole);
    for (Storage Moments::*moment :
         {&Moments::first, &Moments::second, &Moments::first_scale, &Moments::second_scale}) {
      gather(i, (optimizer.moments()[i].*moment).tensor(), all.empty() ? Tensor() : (all.back().*moment).tensor());
    }
  }
  return all;
}

// What ranks own of a moment of the parameter, or of its scales, into `whole` of rank 0.
void DataParallel::gather(size_t parameter, const Tensor& own, const Tensor& whole) {
  auto bytes = [](const Tensor& t) {
    return std::span<std::byte>(static_cast<std::byte*>(t.data), static_cast<size_t>(t.bytes()));
  };
  // Scales belong to blocks. Only the last rank that owns anything has a block that is not full.
  int64_t elements = parameters_.all()[parameter].shape().elements();
  bool scales = whole.defined() && whole.elements() != elements;
  std::vector<Communicator::Request> requests;
  for (int rank = 0; rank < ranks_.size(); ++rank) {
    ElementRange range = sharding_.range(parameter, rank);
    if (range.size() == 0) continue;
    if (ranks_.rank() > 0) {
      if (rank == ranks_.rank() && own.defined()) requests.push_back(ranks_.send(0, kMomentsTag, bytes(own)));
      continue;
    }
    if (!whole.defined()) continue;
    if (scales) range = {range.begin / kernels::kStateBlock, kernels::state_blocks(range.end)};
    std::span<std::byte> place = bytes(elements_of(whole, range));
    if (rank == 0) {
      std::memcpy(place.data(), own.data, place.size());
    } else {
      requests.push_back(ranks_.receive(rank, kMomentsTag, place));
    }
  }
  ranks_.wait(requests);
}

int64_t DataParallel::buffer_bytes() const {
  int64_t bytes = 0;
  for (const auto& bucket : gradient_buckets_) bytes += bucket->buffer_bytes();
  return bytes;
}

int64_t step_bytes(const ParameterStore& parameters, int ranks, bool zero) {
  int64_t gradient = dtype_bytes(parameters.precision().residual), units = 0;
  for (const Parameter& p : parameters.all()) units += units_of(p);
  int64_t others = ranks - 1;
  // Gradients go to the owners; gradients or, with ZeRO, float32 masters come back.
  int64_t per_element = gradient + (zero ? 4 : gradient);
  return others * parameters.elements() * per_element + all_reduce_bytes(2, ranks) + (zero ? others * 8 * units : 0);
}

}  // namespace tandem
