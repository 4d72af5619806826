// Sums over ranks and copies to all of them, of values that lie in stretches of memory: reduce-scatter, all-gather and,
// as the one behind the other, all-reduce. Each stretch has an owner: the others send it theirs, it adds them up and
// sends the sum back.
//
// The sum of a value is formed in the order of ranks, 0 first, whoever owns it and whatever arrives when: the same bits
// in every run, with any cut into stretches, and with or without the second half. Every rank sends (and receives)
// (size - 1) / size of the bytes in each half, which is what a ring sends; it needs as much memory for what arrives in
// the first half.
#pragma once

#include <cstddef>
#include <vector>

#include "dist/communicator.h"
#include "tensor/tensor.h"

namespace tandem {

// Contiguous. In sums: f32 or f64.
struct Stretch {
  Tensor values;
  int owner = 0;
};

enum class ExchangeKind {
  reduce_scatter,  // owners have the sums; what other ranks hold is left alone
  all_gather,      // everybody has what the owners hold
  all_reduce,      // both
};

// May be started again and again, on the same memory. Nothing is allocated after the first time.
class Exchange {
 public:
  // Takes the tags `tag` and `tag` + 1. All ranks make it of the same stretches, up to where these lie.
  Exchange(Communicator& ranks, std::vector<Stretch> stretches, ExchangeKind kind, int tag);

  void start();
  // Goes as far as it can without waiting. True: done, or not started.
  bool progress();
  void wait();
  bool running() const { return stage_ != Stage::idle; }

  // Memory for what arrives.
  int64_t buffer_bytes() const;

 private:
  enum class Stage { idle, reduce, gather };

  bool all_arrived();
  void start_reduce();
  void add_up();
  void start_gather();

  Communicator& ranks_;
  std::vector<Stretch> stretches_;
  ExchangeKind kind_;
  int tag_;
  Stage stage_ = Stage::idle;
  std::vector<Communicator::Request> requests_;
  std::vector<std::byte> arrived_;  // what others send for the stretches owned here: by stretch, then by rank
};

}  // namespace tandem
