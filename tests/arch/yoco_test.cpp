// What is particular about YOCO: a lower half whose state goes back to the latest tokens only, over sequences of
// several pages; reading that stops half-way.
#include "arch/yoco.h"

#include <gtest/gtest.h>

#include "arch/model_check.h"
#include "arch/yoco_state.h"
#include "base/error.h"

namespace tandem::test {
namespace {

using Logits = std::vector<std::vector<double>>;

std::vector<NamedConfig> long_configs() {
  std::vector<NamedConfig> out;
  auto add = [&](const std::string& name, auto&& change) {
    ModelConfig c = small_config(Arch::yoco);
    c.max_seq_len = 400;
    change(c);
    out.push_back({name, c});
  };
  add("window_1", [](ModelConfig& c) { c.self_decoder = SelfDecoder::sliding_window, c.window = 1; });
  add("window_20", [](ModelConfig& c) {
    c.self_decoder = SelfDecoder::sliding_window;
    c.window = 20;
    c.n_kv_heads = 2;
  });
  add("window_64", [](ModelConfig& c) { c.self_decoder = SelfDecoder::sliding_window, c.window = 64; });
  add("window_100", [](ModelConfig& c) {
    c.self_decoder = SelfDecoder::sliding_window;
    c.window = 100;
    c.n_kv_heads = 1;
    c.n_self_heads = 1;
  });
  add("window_of_all", [](ModelConfig& c) { c.self_decoder = SelfDecoder::sliding_window, c.window = 1000; });
  add("retention", [](ModelConfig& c) { c.n_kv_heads = 2; });
  add("retention_fast_decay", [](ModelConfig& c) {
    c.decay_divisor = 0.5;
    c.n_self_heads = 8;
    c.n_kv_heads = 1;
  });
  return out;
}

// In double logits are handed over in float32, and nothing else differs; in float32 as in decode_test.cpp, for longer
// sums.
constexpr double kReferenceBound = 4e-6, kFloat32Bound = 1e-4;

class LongSequences : public testing::TestWithParam<NamedConfig> {
 protected:
  void make(const Precision& precision) {
    model_ = random_model(config_, precision);
    tape_ = std::make_unique<Tape>(ctx_, precision, Tape::Mode::no_grad);
    caches_ = model_->new_caches({.tokens = 4096});  // the reference copies all pages
  }
  std::vector<int32_t> ids(uint64_t seed, int64_t count) { return random_rows(config_, 1, count, seed).ids; }
  // Logits of a whole row, as in training.
  Logits whole(const std::vector<int32_t>& tokens) { return logits_of(*model_, one_row(tokens), ctx_); }
  void read(State& state, std::span<const int32_t> tokens) {
    Piece piece{&state, tokens};
    tape_->reset();
    model_->read(*tape_, {&piece, 1});
  }
  Logits write(State& state, std::span<const int32_t> tokens) {
    Piece piece{&state, tokens};
    Storage logits(DType::f32, {static_cast<int64_t>(tokens.size()), config_.vocab_size});
    tape_->reset();
    model_->write(*tape_, {&piece, 1}, logits.tensor());
    Logits out;
    for (int64_t row = 0; row < logits.tensor().rows(); ++row) {
      const float* from = logits.tensor().row<float>(row);
      out.emplace_back(from, from + config_.vocab_size);
    }
    return out;
  }
  // ours[i] is the row of token first + i.
  static void expect_rows(const Logits& ours, const Logits& all, size_t first, double bound, const std::string& what) {
    double worst = 0;
    for (size_t i = 0; i < ours.size(); ++i) worst = std::max(worst, largest_difference(ours[i], all[first + i]));
    EXPECT_LE(worst, bound) << what;
  }

  const ModelConfig& config_ = GetParam().config;
  Context ctx_{2};
  std::unique_ptr<Model> model_;
  std::unique_ptr<Tape> tape_;
  std::unique_ptr<Caches> caches_;
};

TEST_P(LongSequences, PiecesAndStepsEqualTheFullForward) {
  for (auto [precision, bound] :
       {std::pair{Precision::reference(), kReferenceBound}, std::pair{Precision::float32(), kFloat32Bound}}) {
    make(precision);
    std::vector<int32_t> tokens = ids(1, 300);
    Logits all = whole(tokens);
    Rng rng(9, 0);
    for (int run = 0; run < 4; ++run) {
      auto state = model_->new_state(*caches_);
      size_t prompt = 1 + rng.below(250), at = 0;
      while (at < prompt) {
        size_t count = std::min<size_t>(prompt - at, 1 + rng.below(run % 2 == 0 ? 20 : 200));
        read(*state, std::span(tokens).subspan(at, count));
        at += count;
      }
      while (at < tokens.size()) {
        size_t count = std::min<size_t>(tokens.size() - at, run == 0 ? 300 : 1 + rng.below(12));
        Logits ours = write(*state, std::span(tokens).subspan(at, count));
        expect_rows(ours, all, at, bound, fmt::format("run {}, {} tokens from {}", run, count, at));
        at += count;
      }
    }
  }
}

TEST_P(LongSequences, ManyInOnePassAreAsEachAlone) {
  make(Precision::float32());
  std::vector<std::vector<int32_t>> tokens;
  std::vector<std::unique_ptr<State>> states;
  std::vector<Logits> all;
  std::vector<size_t> prompts{130, 0, 64, 63, 1};
  for (size_t i = 0; i < prompts.size(); ++i) {
    tokens.push_back(ids(30 + i, static_cast<int64_t>(prompts[i]) + 70));
    all.push_back(whole(tokens[i]));
    states.push_back(model_->new_state(*caches_));
  }
  std::vector<Piece> pieces;
  for (size_t i = 0; i < prompts.size(); ++i) pieces.push_back({states[i].get(), {tokens[i].data(), prompts[i]}});
  tape_->reset();
  model_->read(*tape_, pieces);
  // One token each, then pieces of which some are longer than a round.
  for (auto [begin, counts] : {std::pair<size_t, std::vector<size_t>>{0, {1, 1, 1, 1, 1}}, {1, {69, 3, 65, 64, 1}}}) {
    pieces.clear();
    int64_t rows = 0;
    for (size_t i = 0; i < prompts.size(); ++i) {
      pieces.push_back({states[i].get(), std::span(tokens[i]).subspan(prompts[i] + begin, counts[i])});
      rows += static_cast<int64_t>(counts[i]);
    }
    Storage logits(DType::f32, {rows, config_.vocab_size});
    tape_->reset();
    model_->write(*tape_, pieces, logits.tensor());
    int64_t row = 0;
    for (size_t i = 0; i < prompts.size(); ++i) {
      Logits own;
      for (size_t k = 0; k < counts[i]; ++k, ++row) {
        const float* from = logits.tensor().row<float>(row);
        own.emplace_back(from, from + config_.vocab_size);
      }
      expect_rows(own, all[i], prompts[i] + begin, kFloat32Bound, fmt::format("sequence {}", i));
    }
  }
}

TEST_P(LongSequences, WhatWasWrittenCanBeTakenBackHoweverLongItIs) {
  make(Precision::reference());
  std::vector<int32_t> tokens = ids(2, 320), wrong = ids(3, 320);
  Logits all = whole(tokens);
  for (size_t prompt : {size_t{0}, size_t{70}, size_t{128}}) {
    for (size_t kept : {size_t{1}, size_t{60}, size_t{150}}) {
      auto state = model_->new_state(*caches_);
      read(*state, {tokens.data(), prompt});
      write(*state, std::span(tokens).subspan(prompt, kept));
      for (size_t more : {size_t{3}, size_t{40}}) {
        write(*state, {wrong.data(), more});
        state->unwrite(static_cast<int64_t>(more));
        EXPECT_EQ(state->length(), static_cast<int64_t>(prompt + kept));
        EXPECT_EQ(state->written(), static_cast<int64_t>(kept));
      }
      auto branch = state->fork();
      size_t at = prompt + kept;
      Logits ours = write(*branch, std::span(tokens).subspan(at, 30));
      expect_rows(ours, all, at, kReferenceBound, fmt::format("{} read, {} kept", prompt, kept));
      // Back to where the block began, and read instead of written.
      state->unwrite(static_cast<int64_t>(kept) - 1);
      state->close_block();
      read(*state, std::span(tokens).subspan(prompt + 1, 30));
      ours = write(*state, std::span(tokens).subspan(prompt + 31, 5));
      expect_rows(ours, all, prompt + 31, kReferenceBound, fmt::format("{} read, {} taken back", prompt, kept));
    }
  }
}

TEST_P(LongSequences, TheLowerHalfHoldsAConstant) {
  make(Precision::float32());
  std::vector<int32_t> tokens = ids(4, 390);
  auto state = model_->new_state(*caches_);
  std::vector<int64_t> held;
  for (size_t at = 0; at < 384; at += 64) {
    read(*state, std::span(tokens).subspan(at, 64));
    EXPECT_EQ(caches_->bytes_in_use(), state->page_bytes().live);
    held.push_back(state->page_bytes().live);
  }
  auto row = static_cast<int64_t>(model_->costs().cache_bytes_per_token);
  bool all = config_.window > 390 && config_.self_decoder == SelfDecoder::sliding_window;
  for (size_t i = 4; i < held.size(); ++i) {
    if (all) {
      EXPECT_GT(held[i] - held[i - 1], 64 * row);
    } else {
      EXPECT_EQ(held[i] - held[i - 1], 64 * row) << "from page " << i << " on: the shared keys and values alone";
    }
  }
  if (!all) {
    EXPECT_EQ(static_cast<double>(state->bytes()), model_->costs().cache_bytes_constant + 384.0 * row);
  }
}

TEST_P(LongSequences, WhatWasReadIsAStateWhereTheLatestTokensAreThere) {
  make(Precision::reference());
  std::vector<int32_t> tokens = ids(5, 300);
  Logits all = whole(tokens);
  auto state = model_->new_state(*caches_);
  read(*state, {tokens.data(), 290});
  bool gone = config_.self_decoder == SelfDecoder::gated_retention || config_.window <= 100;
  for (int64_t length : {290, 289, 280, 100}) {
    auto part = state->fork();
    bool kept = part->keep_read(length);
    EXPECT_EQ(kept, length >= 280 || !gone) << length;
    EXPECT_EQ(part->length(), kept ? length : 290);
    auto at = static_cast<size_t>(part->length());
    expect_rows(write(*part, std::span(tokens).subspan(at, 5)), all, at, kReferenceBound, fmt::format("{}", length));
  }
  state.reset();
  EXPECT_EQ(caches_->bytes_in_use(), 0);
}

INSTANTIATE_TEST_SUITE_P(Yoco, LongSequences, testing::ValuesIn(long_configs()),
                         [](const auto& test) { return test.param.name; });

// Reading a prompt is the lower half's work alone.
TEST(YocoReading, TouchesNoParameterOfTheUpperHalf) {
  ModelConfig config = small_config(Arch::yoco);
  Context ctx(1);
  auto model = random_model(config, Precision::float32());
  auto spoilt = random_model(config, Precision::float32());
  for (Parameter& p : spoilt->parameters().all()) {
    if (!p.name().starts_with("decoder_layers.") && !p.name().starts_with("output")) continue;
    for (int64_t i = 0; i < p.master().elements(); ++i) p.master().as<float>()[i] = NAN;
  }
  std::vector<int32_t> tokens = random_rows(config, 1, 20).ids;
  Tape tape(ctx, Precision::float32(), Tape::Mode::no_grad);
  auto a = model->new_state(20), b = spoilt->new_state(20);
  model->prefill(tape, *a, tokens);
  tape.reset();
  spoilt->prefill(tape, *b, tokens);
  auto& left = static_cast<YocoState&>(*a);
  auto& right = static_cast<YocoState&>(*b);
  for (int64_t t = 0; t < 20; ++t) {
    for (size_t column : {0, 1}) {
      const Tensor &x = left.shared.pool().column(column), &y = right.shared.pool().column(column);
      for (int64_t i = 0; i < x.row_size(); ++i) {
        EXPECT_EQ(load_element(x, left.shared.row(t), i), load_element(y, right.shared.row(t), i));
      }
    }
  }
}

TEST(YocoCosts, AreThoseOfTheFormulas) {
  ModelConfig config;
  config.arch = Arch::yoco;
  config.vocab_size = 1000;
  config.dim = 64;
  config.n_heads = 4;
  config.n_kv_heads = 2;
  config.n_encoder_layers = 3;
  config.n_decoder_layers = 5;
  config.max_seq_len = 200;
  config.self_decoder = SelfDecoder::sliding_window;
  config.window = 50;
  auto costs = [&] {
    return make_model(config, Precision::float32(), ParameterStore::Gradients::none, "test")->costs();
  };
  double d = 64, mlp = 6 * d * 256, keys = 50 - 50.0 * 50 / 400, shared = 2 * d * 64, cross = 4 * d * d + mlp;
  Costs windows = costs();
  double lower = 3 * (8 * d * d + mlp + 4 * d * keys) + shared, head = 2 * 1000 * d;
  EXPECT_DOUBLE_EQ(windows.flops_per_prompt_token, lower);
  EXPECT_DOUBLE_EQ(windows.flops_per_training_token, 3 * (lower + 5 * (cross + 4 * d * 100) + head));
  EXPECT_DOUBLE_EQ(windows.flops_per_generated_token,
                   3 * (8 * d * d + mlp + 4 * d * 50) + shared + 5 * (cross + 4 * d * 200) + head);
  EXPECT_DOUBLE_EQ(windows.cache_bytes_per_token, 2 * 32 * 4);
  EXPECT_DOUBLE_EQ(windows.cache_bytes_constant, 3 * 49 * 2 * d * 4);
  config.self_decoder = SelfDecoder::gated_retention;
  Costs retention = costs();
  EXPECT_DOUBLE_EQ(retention.flops_per_prompt_token,
                   3 * (2 * d * (5 * d + 4) + mlp + 2 * d * 64 + 4 * d * 16) + shared);
  // A tile of 64 tokens with its state of 16 x 16 per head.
  EXPECT_DOUBLE_EQ(retention.cache_bytes_constant, 3 * (64 * (2 * d + 4) * 4 + 4 * 16 * 16 * 4));
}

// The published 3B model (26 layers of 3072, 24 heads, 8 key heads, MLPs of 8192): computed from its config.
TEST(YocoCosts, ThePublishedSize) {
  ModelConfig config;
  config.arch = Arch::yoco;
  config.vocab_size = 8;
  config.dim = 384;  // an eighth of everything: matrices have a 64th of their elements
  config.n_heads = 3;
  config.n_kv_heads = 1;
  config.mlp_dim = 1024;
  config.n_encoder_layers = config.n_decoder_layers = 13;
  auto model = make_model(config, Precision::float32(), ParameterStore::Gradients::none, "test");
  int64_t elements = 0;
  for (const Parameter& p : model->parameters().all()) {
    if (p.group() == MupGroup::matrix) elements += p.shape().elements();
  }
  EXPECT_NEAR(static_cast<double>(64 * elements), 2829e6, 0.5e6);
}

TEST(YocoConfig, RefusesSizesThatDoNotFit) {
  ModelConfig config = small_config(Arch::yoco);
  config.n_self_heads = 5;
  EXPECT_THROW(config.validate("test"), InputError);
  config.n_self_heads = 32;  // heads of one feature
  EXPECT_THROW(config.validate("test"), InputError);
  config = small_config(Arch::yoco);
  config.window = 0;
  EXPECT_THROW(config.validate("test"), InputError);
  config.window = 5;
  config.decay_divisor = 0;
  EXPECT_THROW(config.validate("test"), InputError);
}

}  // namespace
}  // namespace tandem::test
