// One forward for training and decoding: what a sequence's logits are must not depend on how it was fed.
#include <gtest/gtest.h>

#include <cmath>

#include "arch/model_check.h"
#include "base/error.h"

namespace tandem::test {
namespace {

class Decode : public testing::TestWithParam<NamedConfig> {};

// Logits of tokens first..end-1 of a row when the tokens before are read first and the others decoded one by one.
std::vector<std::vector<double>> decoded(Model& model, Context& ctx, const std::vector<int32_t>& ids, size_t first) {
  Tape tape(ctx, model.parameters().precision(), Tape::Mode::no_grad);
  auto state = model.new_state(static_cast<int64_t>(ids.size()));
  model.prefill(tape, *state, {ids.data(), first});
  EXPECT_EQ(state->length(), static_cast<int64_t>(first));
  std::vector<std::vector<double>> out;
  std::vector<float> logits(static_cast<size_t>(model.config().vocab_size));
  for (size_t t = first; t < ids.size(); ++t) {
    tape.reset();
    model.decode(tape, *state, ids[t], logits);
    out.emplace_back(logits.begin(), logits.end());
    EXPECT_EQ(state->length(), static_cast<int64_t>(t + 1));
  }
  return out;
}

// Float32: sums of at most a few hundred terms in another order, through a handful of layers, on logits of order 10.
// The reference computes in double and hands its logits over in float32.
constexpr double kFloat32Bound = 5e-5, kReferenceBound = 4e-6;

void check_decoding(const ModelConfig& config, const Precision& precision, double bound) {
  Context ctx(2);
  auto model = random_model(config, precision);
  Batch batch = random_batch(config, 1, 15, {});
  for (size_t first : {0, 1, 2, 9, 14}) {
    // What is read ends where decoding begins. With nothing read before, the double decoder's only block is the row's
    // first, and the encoder-decoder reads one token.
    bool writes_bos = config.arch == Arch::encoder_decoder;
    auto read = static_cast<int32_t>(writes_bos && first == 0 ? 1 : first);
    std::vector<int32_t> boundaries = read > 0 ? std::vector<int32_t>{read} : std::vector<int32_t>{};
    choose(batch, config, boundaries);
    auto whole = logits_of(*model, batch, ctx);
    // Where rotary bases follow the length, a token's logits are those of the text that ends with it.
    bool by_length = config.rope_ntk_factor > 1;
    auto stepwise = decoded(*model, ctx, batch.ids, first);
    // The encoder-decoder's logits behind BOS come before those of the first token decoded.
    size_t skipped = writes_bos ? (first == 0 ? 0 : 1) : first;
    for (size_t i = 0; i < stepwise.size(); ++i) {
      if (by_length) {
        Batch text = one_row({batch.ids.begin(), batch.ids.begin() + static_cast<int64_t>(first + i + 1)});
        if (text.length <= read) continue;  // nothing is written behind what is read
        choose(text, config, boundaries);
        whole = logits_of(*model, text, ctx);
      }
      EXPECT_LE(largest_difference(stepwise[i], whole[skipped + i]), bound) << "read " << first << ", step " << i;
    }
  }
}

TEST_P(Decode, PrefillAndDecodeEqualTheFullForward) {
  check_decoding(GetParam().config, Precision::float32(), kFloat32Bound);
}

TEST_P(Decode, PrefillAndDecodeEqualTheFullForwardInDouble) {
  check_decoding(GetParam().config, Precision::reference(), kReferenceBound);
}

TEST_P(Decode, ASequenceLongerThanItsStateIsAnInputError) {
  Context ctx(1);
  auto model = random_model(GetParam().config, Precision::float32());
  Tape tape(ctx, Precision::float32(), Tape::Mode::no_grad);
  std::vector<int32_t> ids{1, 2, 3, 4, 5};
  std::vector<float> logits(29);
  auto state = model->new_state(4);
  EXPECT_THROW(model->prefill(tape, *state, ids), InputError);
  auto fresh = model->new_state(2);
  EXPECT_THROW(
      {
        for (int32_t id : ids) model->decode(tape, *fresh, id, logits);
      },
      InputError);
}

TEST_P(Decode, PositionsBeyondTheModelAreInputErrors) {
  Context ctx(1);
  auto model = random_model(GetParam().config, Precision::float32());
  Tape tape(ctx, Precision::float32(), Tape::Mode::no_grad);
  std::vector<int32_t> ids(24, 1), longer(25, 1);
  std::vector<float> logits(29);
  EXPECT_THROW(model->prefill(tape, *model->new_state(100), longer), InputError);
  auto state = model->new_state(100);
  model->prefill(tape, *state, ids);
  // An encoder-decoder may count from 0 on both sides.
  bool both = GetParam().config.arch == Arch::encoder_decoder &&
              GetParam().config.decoder_positions == DecoderPositions::from_zero;
  for (int i = 0; both && i < 23; ++i) model->decode(tape, *state, 3, logits);
  EXPECT_THROW(model->decode(tape, *state, 3, logits), InputError);
}

TEST_P(Decode, UnknownIdsAreInputErrors) {
  Context ctx(1);
  auto model = random_model(GetParam().config, Precision::float32());
  Tape tape(ctx, Precision::float32(), Tape::Mode::no_grad);
  std::vector<float> logits(29);
  auto state = model->new_state(5);
  std::vector<int32_t> bad{29};
  EXPECT_THROW(model->prefill(tape, *state, bad), InputError);
  EXPECT_THROW(model->decode(tape, *state, -1, logits), InputError);
}

INSTANTIATE_TEST_SUITE_P(Small, Decode, testing::ValuesIn(small_configs()),
                         [](const auto& test) { return test.param.name; });

// Live bytes are what costs() says: per prompt token, and for the tokens written.
TEST(StateBytes, AreThoseOfTheCosts) {
  Context ctx(1);
  for (const NamedConfig& named : small_configs()) {
    for (const Precision& precision : {Precision::float32(), Precision::bfloat16()}) {
      if (precision == Precision::bfloat16() && !has_bf16_products(choose_isa())) continue;
      auto model = random_model(named.config, precision);
      Tape tape(ctx, precision, Tape::Mode::no_grad);
      auto state = model->new_state(12);
      EXPECT_EQ(state->bytes(), 0);
      std::vector<int32_t> ids{1, 2, 3, 4, 5, 6, 7};
      std::vector<float> logits(29);
      model->prefill(tape, *state, ids);
      double per_token = model->costs().cache_bytes_per_token, constant = model->costs().cache_bytes_constant;
      auto cached = static_cast<double>(cached_tokens(named.config, 7));
      EXPECT_EQ(static_cast<double>(state->bytes()), constant + cached * per_token) << named.name;
      if (named.config.arch == Arch::block_transformer) continue;  // the open block: block_transformer_test.cpp
      model->decode(tape, *state, 8, logits);
      // Every layer keeps keys and values of what was written, also where the prompt has one projection for all.
      bool one = named.config.memory_kv == MemoryKv::one_for_all;
      double written = per_token * static_cast<double>(one ? named.config.n_decoder_layers : 1);
      if (named.config.arch == Arch::encoder_decoder) written *= 2;  // BOS comes first
      EXPECT_EQ(static_cast<double>(state->bytes()), constant + 7 * per_token + written) << named.name;
    }
  }
}

}  // namespace
}  // namespace tandem::test
