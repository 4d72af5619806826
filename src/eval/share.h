// Parts of a count, with the error of a sample.
#pragma once

#include <cmath>
#include <cstdint>

namespace tandem {

// A share of n questions, with the standard error sqrt(p (1 - p) / n) of a sample.
struct Share {
  int64_t hits = 0;
  int64_t of = 0;

  void add(bool hit) {
    hits += hit;
    ++of;
  }
  void add(const Share& other) {
    hits += other.hits;
    of += other.of;
  }
  double value() const { return of > 0 ? static_cast<double>(hits) / static_cast<double>(of) : 0; }
  double standard_error() const { return of > 0 ? std::sqrt(value() * (1 - value()) / static_cast<double>(of)) : 0; }
};

}  // namespace tandem
