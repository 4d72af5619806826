// States as bytes: what is loaded goes on as the state that was saved, and bytes that are no state of the model are
// refused.
#include "arch/sequence_check.h"
#include "arch/state_format.h"
#include "base/error.h"
#include "base/sealed.h"

namespace tandem::test {
namespace {

class SavedStates : public SequenceTest {
 protected:
  SavedStates() { caches_ = model_->new_caches({.keep_outputs = true}); }

  // A state in every form that it can be saved in: read, with an open block, opened with nothing read, at rest.
  std::vector<std::unique_ptr<State>> forms(const std::vector<int32_t>& tokens) {
    std::vector<std::unique_ptr<State>> out;
    for (auto [read_tokens, written] : {std::pair<size_t, size_t>{12, 0}, {9, 3}, {0, 12}}) {
      out.push_back(model_->new_state(*caches_));
      read(*out.back(), {tokens.data(), read_tokens});
      if (written > 0) write(*out.back(), std::span(tokens).subspan(read_tokens, written));
      out.push_back(out.back()->fork());
      out.back()->rest();
    }
    return out;
  }
};

TEST_P(SavedStates, GoOnWithTheSameBits) {
  std::vector<int32_t> tokens = ids(1, 20);
  StateFormat format(*model_);
  for (auto& state : forms(tokens)) {
    std::string bytes = format.save(*state);
    EXPECT_EQ(bytes, format.save(*state->fork()));
    auto loaded = format.load(*caches_, bytes, "test");
    ASSERT_TRUE(loaded);
    EXPECT_EQ(loaded->length(), state->length());
    EXPECT_EQ(loaded->written(), state->written());
    EXPECT_EQ(loaded->resting(), state->resting());
    EXPECT_EQ(loaded->page_bytes().with_encoder, state->page_bytes().with_encoder);
    EXPECT_EQ(loaded->page_bytes().at_rest, state->page_bytes().at_rest);
    EXPECT_EQ(format.save(*loaded), bytes);
    auto copy = loaded->fork();
    EXPECT_EQ(write(*loaded, std::span(tokens).subspan(12)), write(*state, std::span(tokens).subspan(12)));
    // And it can be read on: the block that was written becomes a part of what was read.
    if (copy->written() == 0) read(*copy, std::span(tokens).subspan(12, 4));
    tape_.reset();
    model_->fold(tape_, *copy);
    EXPECT_EQ(copy->written(), 0);
  }
}

TEST_P(SavedStates, ReadOnAsTheyWereRead) {
  std::vector<int32_t> tokens = ids(2, 20);
  Logits expected = alone(tokens, 16);
  StateFormat format(*model_);
  for (EncoderState policy : {EncoderState::keep, EncoderState::recompute}) {
    for (bool outputs : {false, true}) {
      caches_ = model_->new_caches({.encoder = policy, .keep_outputs = outputs});
      auto state = model_->new_state(*caches_);
      read(*state, {tokens.data(), 10});
      state->settle();
      state->rest();
      std::string bytes = format.save(*state);
      // Into caches that keep something else.
      for (EncoderState other : {EncoderState::keep, EncoderState::recompute}) {
        for (bool other_outputs : {false, true}) {
          auto caches = model_->new_caches({.encoder = other, .keep_outputs = other_outputs});
          auto loaded = format.load(*caches, bytes, "test");
          ASSERT_TRUE(loaded);
          read(*loaded, std::span(tokens).subspan(10, 6));
          loaded->settle();
          loaded->rest();
          EXPECT_LE(worst(write(*loaded, std::span(tokens).subspan(16)), expected), kFloat32Bound);
        }
      }
    }
  }
}

TEST_P(SavedStates, OfAnotherModelAreRefused) {
  StateFormat format(*model_);
  auto state = model_->new_state(*caches_);
  read(*state, ids(3, 8));
  std::string bytes = format.save(*state);
  auto other = random_model(config_, Precision::float32());
  EXPECT_EQ(StateFormat(*other).fingerprint(), format.fingerprint()) << "the same weights";
  other->parameters().all().front().master().as<float>()[3] += 1;
  ModelConfig longer = config_;
  longer.max_seq_len += 1;
  auto stretched = random_model(longer, Precision::float32());
  auto exact = random_model(config_, Precision::reference());
  auto packed = random_model(config_, Precision::float32());
  packed->parameters().pack(ctx_, kernels::WeightFormat::int8);
  for (const Model* each : {other.get(), stretched.get(), exact.get(), packed.get()}) {
    auto caches = each->new_caches({});
    EXPECT_THROW(StateFormat(*each).load(*caches, bytes, "test"), InputError);
    EXPECT_EQ(caches->bytes_in_use(), 0);
  }
}

TEST_P(SavedStates, DamagedBytesAreRefused) {
  StateFormat format(*model_);
  std::vector<int32_t> tokens = ids(4, 20);
  for (auto& state : forms(tokens)) {
    const std::string bytes = format.save(*state);
    int64_t before = caches_->bytes_in_use();
    Rng rng(5, 0);
    for (int i = 0; i < 40; ++i) {
      std::string damaged = bytes;
      size_t at = rng.below(static_cast<uint32_t>(bytes.size()));
      damaged[at] = static_cast<char>(damaged[at] ^ (1 << rng.below(8)));
      EXPECT_THROW(format.load(*caches_, damaged, "test"), InputError);
      EXPECT_THROW(format.load(*caches_, std::string_view(bytes).substr(0, at), "test"), InputError);
    }
    // Behind a seal that fits, too, everything is checked: what is not refused is a state.
    std::string content;
    format.put(*state, content);
    for (int i = 0; i < 60; ++i) {
      std::string changed = content;
      size_t at = rng.below(static_cast<uint32_t>(content.size()));
      if (i % 3 == 0) at = std::min(content.size() - 1, static_cast<size_t>(8 * rng.below(30)));
      changed[at] = static_cast<char>(changed[at] ^ (1 << rng.below(8)));
      if (i % 5 == 0) changed.resize(rng.below(static_cast<uint32_t>(content.size())));
      try {
        auto loaded = format.get(*caches_, changed, "test");
        if (!loaded || loaded->length() >= config_.max_seq_len) continue;
        std::vector<int32_t> next{5};
        write(*loaded, next);
      } catch (const InputError&) {
      }
    }
    EXPECT_EQ(caches_->bytes_in_use(), before);
  }
}

TEST_P(SavedStates, WithoutPagesThereIsNone) {
  StateFormat format(*model_);
  std::vector<int32_t> tokens = ids(6, 20);
  for (auto& state : forms(tokens)) {
    std::string bytes = format.save(*state);
    auto caches = model_->new_caches({.bytes = 1000, .keep_outputs = true});
    EXPECT_EQ(format.load(*caches, bytes, "test"), nullptr);
    EXPECT_EQ(caches->bytes_in_use(), 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Small, SavedStates, testing::ValuesIn(small_configs()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace tandem::test
