// Shapes of up to four dimensions.
#pragma once

#include <fmt/format.h>

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>

namespace tandem {

class Shape {
 public:
  static constexpr int kMostDims = 4;

  Shape() = default;
  Shape(std::initializer_list<int64_t> dims) {  // NOLINT(google-explicit-constructor): {T, d} at call sites
    for (int64_t d : dims) dims_[static_cast<size_t>(rank_++)] = d;
  }

  int rank() const { return rank_; }
  int64_t operator[](int i) const { return dims_[static_cast<size_t>(i)]; }
  int64_t elements() const {
    int64_t n = 1;
    for (int i = 0; i < rank_; ++i) n *= dims_[static_cast<size_t>(i)];
    return n;
  }
  bool operator==(const Shape&) const = default;
  // "[2, 48, 64]"
  std::string text() const {
    std::string out = "[";
    for (int i = 0; i < rank_; ++i) out += fmt::format("{}{}", i ? ", " : "", dims_[static_cast<size_t>(i)]);
    return out + "]";
  }

 private:
  std::array<int64_t, kMostDims> dims_{};
  int rank_ = 0;
};

}  // namespace tandem
