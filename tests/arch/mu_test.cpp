// The encoder-decoder under Mu's conventions: what the tests of all architectures don't ask.
#include <gtest/gtest.h>

#include "arch/sequence_check.h"
#include "arch/state_format.h"

namespace tandem::test {
namespace {

NamedConfig mu() {
  ModelConfig c = small_config(Arch::encoder_decoder);
  make_mu(c);
  return {"mu", c};
}

// With a rotary base that is another one from 7 rows on.
NamedConfig mu_ntk() {
  NamedConfig named = mu();
  named.name = "mu_ntk";
  named.config.rope_base = 30;
  named.config.rope_ntk_factor = 2;
  named.config.rope_ntk_length = 6;
  return named;
}

class Mu : public SequenceTest {
 protected:
  std::unique_ptr<State> reader(const std::vector<int32_t>& prompt) {
    auto state = model_->new_state(*caches_);
    read(*state, prompt);
    return state;
  }
  // The logits of what is written, BOS and `ids`, by the full pass.
  Logits full(const std::vector<int32_t>& prompt, const std::vector<int32_t>& ids) {
    std::vector<int32_t> text = prompt;
    text.insert(text.end(), ids.begin(), ids.end());
    Batch batch = one_row(text);
    choose(batch, config_, {static_cast<int32_t>(prompt.size())});
    return logits_of(*model_, batch, ctx_);
  }
};

// An answer that has no token to open with begins at BOS, which stands there once.
TEST_P(Mu, BosThatIsWrittenIsTheBosInFront) {
  std::vector<int32_t> prompt = ids(1, 5), answer = ids(2, 3), written = answer;
  written.insert(written.begin(), static_cast<int32_t>(config_.bos_id));
  Logits expected = full(prompt, answer);
  auto state = reader(prompt);
  EXPECT_LE(worst(write(*state, written), expected), kFloat32Bound);
  auto without = reader(prompt);
  EXPECT_LE(worst(write(*without, answer), {expected.begin() + 1, expected.end()}), kFloat32Bound);
  EXPECT_EQ(state->bytes(), without->bytes());
  // Saved, loaded and taken back.
  StateFormat format(*model_);
  auto loaded = format.load(*caches_, format.save(*state), "test");
  ASSERT_TRUE(loaded);
  EXPECT_EQ(loaded->written(), 4);
  loaded->unwrite(4);
  EXPECT_LE(worst(write(*loaded, written), expected), kFloat32Bound);
}

TEST_P(Mu, WhatIsTakenBackLeavesNoTrace) {
  std::vector<int32_t> prompt = ids(3, 9), answer = ids(4, 10), other = ids(5, 10);
  for (size_t kept : {0u, 1u, 3u, 5u, 6u, 9u}) {
    auto state = reader(prompt);
    write(*state, answer);
    state->unwrite(static_cast<int64_t>(answer.size() - kept));
    auto fresh = reader(prompt);
    if (kept > 0) write(*fresh, {answer.data(), kept});
    for (int32_t id : other) {
      EXPECT_LE(worst(write(*state, {&id, 1}), write(*fresh, {&id, 1})), kFloat32Bound) << kept;
    }
  }
}

TEST_P(Mu, ForksWriteForThemselves) {
  std::vector<int32_t> prompt = ids(6, 4), answer = ids(7, 8), other = ids(8, 8);
  for (size_t shared : {2u, 7u}) {
    auto a = reader(prompt);
    write(*a, {answer.data(), shared});
    auto b = a->fork();
    auto c = reader(prompt);
    write(*c, {answer.data(), shared});
    for (size_t i = 0; i < other.size(); ++i) {
      std::vector<Logits> both = write({{a.get(), {&answer[i], 1}}, {b.get(), {&other[i], 1}}});
      EXPECT_LE(worst(both[1], write(*c, {&other[i], 1})), kFloat32Bound) << shared << ", " << i;
    }
  }
}

// Shorter again than what the pages were last computed for.
TEST_P(Mu, ForksOfWhatWasTakenBackWriteForThemselves) {
  std::vector<int32_t> prompt = ids(13, 4), answer = ids(14, 9), other = ids(15, 9);
  auto a = reader(prompt);
  write(*a, answer);
  a->unwrite(5);
  auto b = a->fork();
  auto c = reader(prompt);
  write(*c, {answer.data(), 4});
  write(*a, {other.data(), 5});  // as many rows as there were
  write(*b, {answer.data() + 4, 5});
  write(*c, {answer.data() + 4, 5});
  EXPECT_LE(worst(write(*b, {other.data(), 2}), write(*c, {other.data(), 2})), kFloat32Bound);
}

TEST_P(Mu, TheEncoderHasNoPartInWhatIsWritten) {
  double reading = 0, writing = 0;
  for (const Parameter& p : model_->parameters().all()) {
    double read_share = model_->pass_share(PassKind::read, p), write_share = model_->pass_share(PassKind::write, p);
    EXPECT_EQ(read_share + write_share, 1) << p.name();
    bool memory = p.name().find("cross_attention.kv.") != std::string::npos;
    if (p.name().starts_with("encoder_") || memory) {
      EXPECT_EQ(write_share, 0) << p.name();
    }
    reading += read_share;
    writing += write_share;
  }
  EXPECT_GT(reading, 0);
  EXPECT_GT(writing, 0);
}

INSTANTIATE_TEST_SUITE_P(Small, Mu, testing::Values(mu(), mu_ntk()), [](const auto& test) { return test.param.name; });

using MuNtk = Mu;

// A base that stayed would be noticed.
TEST_P(MuNtk, TheBaseFollowsTheLength) {
  std::vector<int32_t> prompt = ids(9, 3), answer = ids(10, 9);
  ModelConfig plain = config_;
  plain.rope_ntk_factor = 1;
  auto other = random_model(plain, Precision::float32());
  for (size_t count = 1; count <= answer.size(); ++count) {
    std::vector<int32_t> text = prompt;
    text.insert(text.end(), answer.begin(), answer.begin() + static_cast<int64_t>(count));
    Batch batch = one_row(text);
    choose(batch, config_, {3});
    double difference =
        largest_difference(logits_of(*model_, batch, ctx_).back(), logits_of(*other, batch, ctx_).back());
    // BOS and `count` tokens.
    if (count < 6) {
      EXPECT_EQ(difference, 0) << count;
    } else {
      EXPECT_GT(difference, 1e-3) << count;
    }
  }
}

// Only what was written is computed once more: the memory stays, the block's rows stay where they are.
TEST_P(MuNtk, LongBlocksNeedNoFurtherRoom) {
  std::vector<int32_t> prompt = ids(11, 8), answer = ids(12, 12);
  auto state = reader(prompt);
  ModelConfig plain = config_;
  plain.rope_ntk_factor = 1;
  auto other = random_model(plain, Precision::float32());
  auto caches = other->new_caches({});
  auto twin = other->new_state(*caches);
  Piece piece{twin.get(), prompt};
  tape_.reset();
  other->read(tape_, {&piece, 1});
  Storage logits(DType::f32, {1, config_.vocab_size});
  for (int32_t id : answer) {
    write(*state, {&id, 1});
    Piece written{twin.get(), {&id, 1}};
    tape_.reset();
    other->write(tape_, {&written, 1}, logits.tensor());
    EXPECT_EQ(state->bytes(), twin->bytes());
    EXPECT_EQ(caches_->bytes_in_use(), caches->bytes_in_use());
  }
}

INSTANTIATE_TEST_SUITE_P(Small, MuNtk, testing::Values(mu_ntk()), [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace tandem::test
