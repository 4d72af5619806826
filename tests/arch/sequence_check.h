// A small model of every kind, and sequences that are read and written with it.
#pragma once

#include <gtest/gtest.h>

#include "arch/model_check.h"

namespace tandem::test {

// As in decode_test.cpp.
inline constexpr double kFloat32Bound = 5e-5;

using Logits = std::vector<std::vector<double>>;

class SequenceTest : public testing::TestWithParam<NamedConfig> {
 protected:
  const ModelConfig& config_ = GetParam().config;
  Context ctx_{2};
  std::unique_ptr<Model> model_ = random_model(config_, Precision::float32());
  Tape tape_{ctx_, Precision::float32(), Tape::Mode::no_grad};
  std::unique_ptr<Caches> caches_ = model_->new_caches({});

  std::vector<int32_t> ids(uint64_t seed, int64_t count) { return random_rows(config_, 1, count, seed).ids; }

  // All pieces in one pass; the rows of logits piece by piece.
  std::vector<Logits> write(const std::vector<Piece>& pieces) {
    int64_t rows = 0;
    for (const Piece& piece : pieces) rows += static_cast<int64_t>(piece.ids.size());
    Storage logits(DType::f32, {rows, config_.vocab_size});
    tape_.reset();
    model_->write(tape_, pieces, logits.tensor());
    std::vector<Logits> out;
    int64_t row = 0;
    for (const Piece& piece : pieces) {
      Logits own;
      for (size_t i = 0; i < piece.ids.size(); ++i, ++row) {
        const float* from = logits.tensor().row<float>(row);
        own.emplace_back(from, from + config_.vocab_size);
      }
      out.push_back(std::move(own));
    }
    return out;
  }
  Logits write(State& state, std::span<const int32_t> tokens) { return write({{&state, tokens}}).front(); }
  void read(const std::vector<Piece>& pieces) {
    tape_.reset();
    model_->read(tape_, pieces);
  }
  void read(State& state, std::span<const int32_t> tokens) { read({{&state, tokens}}); }

  // By itself: the first `first` tokens read in one go, the others written one by one.
  Logits alone(const std::vector<int32_t>& tokens, size_t first) {
    auto state = model_->new_state(*caches_);
    read(*state, {tokens.data(), first});
    Logits out;
    for (size_t t = first; t < tokens.size(); ++t) out.push_back(write(*state, {&tokens[t], 1}).front());
    return out;
  }
};

inline double worst(const Logits& a, const Logits& b) {
  EXPECT_EQ(a.size(), b.size());
  double worst = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) worst = std::max(worst, largest_difference(a[i], b[i]));
  return worst;
}

}  // namespace tandem::test
