// Many sequences in pages of common pools: what a sequence's logits are must not depend on how it was cut, on what else
// is in a pass, on branches taken and taken back, or on where its pages lie.
#include "arch/sequence_check.h"
#include "base/error.h"

namespace tandem::test {
namespace {

class Sequences : public SequenceTest {};

TEST_P(Sequences, SeveralTokensAreWrittenAsOneByOne) {
  std::vector<int32_t> tokens = ids(1, 15);
  for (size_t first : {size_t{0}, size_t{1}, size_t{8}}) {
    Logits expected = alone(tokens, first);
    auto state = model_->new_state(*caches_);
    read(*state, {tokens.data(), first});
    EXPECT_LE(worst(write(*state, std::span(tokens).subspan(first)), expected), kFloat32Bound) << first;
    EXPECT_EQ(state->length(), 15);
  }
}

TEST_P(Sequences, APromptMayBeReadInPieces) {
  std::vector<int32_t> tokens = ids(2, 20);
  Logits expected = alone(tokens, 17);
  for (std::vector<size_t> cuts : {std::vector<size_t>{0, 17}, {0, 1, 17}, {0, 5, 9, 16, 17}, {0, 16, 16, 17}}) {
    auto state = model_->new_state(*caches_);
    for (size_t i = 0; i + 1 < cuts.size(); ++i) {
      read(*state, std::span(tokens).subspan(cuts[i], cuts[i + 1] - cuts[i]));
      state->settle();
    }
    EXPECT_LE(worst(write(*state, std::span(tokens).subspan(17)), expected), kFloat32Bound);
  }
}

TEST_P(Sequences, APassMayHoldManySequences) {
  std::vector<std::vector<int32_t>> tokens;
  std::vector<Logits> expected;
  std::vector<std::unique_ptr<State>> states;
  std::vector<size_t> lengths{0, 1, 12, 7, 18};
  for (size_t i = 0; i < lengths.size(); ++i) {
    tokens.push_back(ids(10 + i, static_cast<int64_t>(lengths[i]) + 5));
    expected.push_back(alone(tokens[i], lengths[i]));
    states.push_back(model_->new_state(*caches_));
  }
  std::vector<Piece> prompts;
  for (size_t i = 0; i < states.size(); ++i) prompts.push_back({states[i].get(), {tokens[i].data(), lengths[i]}});
  read(prompts);
  // Each step a sequence less: requests leave when they are done.
  for (size_t step = 0; step < 5; ++step) {
    std::vector<Piece> pieces;
    for (size_t i = step; i < states.size(); ++i)
      pieces.push_back({states[i].get(), {&tokens[i][lengths[i] + step], 1}});
    std::vector<Logits> logits = write(pieces);
    for (size_t i = step; i < states.size(); ++i) {
      EXPECT_LE(largest_difference(logits[i - step].front(), expected[i][step]), kFloat32Bound) << i << ", " << step;
    }
  }
}

TEST_P(Sequences, BranchesDoNotTouchEachOther) {
  std::vector<int32_t> tokens = ids(3, 16), other = ids(4, 16);
  std::copy_n(tokens.begin(), 11, other.begin());
  Logits expected = alone(tokens, 9), expected_other = alone(other, 9);
  auto state = model_->new_state(*caches_);
  read(*state, {tokens.data(), 9});
  write(*state, {tokens.data() + 9, 2});
  auto branch = state->fork();
  Logits a = write(*state, std::span(tokens).subspan(11)), b = write(*branch, std::span(other).subspan(11));
  EXPECT_LE(worst(a, Logits(expected.begin() + 2, expected.end())), kFloat32Bound);
  EXPECT_LE(worst(b, Logits(expected_other.begin() + 2, expected_other.end())), kFloat32Bound);
}

TEST_P(Sequences, WhatWasWrittenCanBeTakenBack) {
  std::vector<int32_t> tokens = ids(5, 14), wrong = ids(6, 4);
  for (size_t first : {size_t{0}, size_t{1}, size_t{8}}) {
    Logits expected = alone(tokens, first);
    for (int64_t kept : {0, 1, 3}) {
      auto state = model_->new_state(*caches_);
      read(*state, {tokens.data(), first});
      auto keep = static_cast<size_t>(kept);
      // With nothing read the first token is read as well as written: it stays.
      if (first == 0 && kept == 0) continue;
      if (kept > 0) write(*state, std::span(tokens).subspan(first, keep));
      write(*state, wrong);
      EXPECT_EQ(state->written(), kept + 4);
      state->unwrite(4);
      EXPECT_EQ(state->length(), static_cast<int64_t>(first) + kept);
      Logits rest = write(*state, std::span(tokens).subspan(first + keep));
      EXPECT_LE(worst(rest, Logits(expected.begin() + kept, expected.end())), kFloat32Bound) << first << " " << kept;
    }
  }
}

// What was promised to a sequence is not given to another when nothing is taken back.
TEST_P(Sequences, TakingNothingBackKeepsTheRoom) {
  std::vector<int32_t> tokens = ids(4, 12);
  auto state = model_->new_state(*caches_);
  read(*state, {tokens.data(), 5});
  write(*state, {tokens.data() + 5, 3});
  int64_t before = caches_->bytes_in_use();
  ASSERT_TRUE(state->reserve_write(150));
  int64_t reserved = caches_->bytes_in_use();
  state->unwrite(0);
  EXPECT_EQ(caches_->bytes_in_use(), reserved);
  bool few_blocks = config_.arch == Arch::block_transformer;
  EXPECT_TRUE(reserved > before || few_blocks) << reserved;
}

// Folding: the blocks of a training row, one after the other.
TEST_P(Sequences, FoldedBlocksAreThoseOfTraining) {
  if (config_.arch != Arch::double_decoder) GTEST_SKIP() << "the others have no blocks";
  Batch batch = random_rows(config_, 1, 22, 7);
  choose(batch, config_, {4, 5, 12, 19});
  Logits whole = logits_of(*model_, batch, ctx_);
  for (EncoderState policy : {EncoderState::keep, EncoderState::recompute}) {
    auto caches = model_->new_caches({.encoder = policy});
    auto state = model_->new_state(*caches);
    Logits folded;
    for (auto [begin, end] : {std::pair<size_t, size_t>{0, 4}, {4, 5}, {5, 12}, {12, 19}, {19, 22}}) {
      for (const auto& row : write(*state, std::span(batch.ids).subspan(begin, end - begin))) folded.push_back(row);
      tape_.reset();
      model_->fold(tape_, *state);
      state->settle();
      EXPECT_EQ(state->length(), static_cast<int64_t>(end));
      EXPECT_EQ(state->written(), 0);
      StateBytes bytes = state->token_bytes();
      if (policy == EncoderState::recompute) {
        EXPECT_EQ(bytes.with_encoder, bytes.live);
      } else {
        EXPECT_GT(bytes.with_encoder, bytes.live);
      }
    }
    EXPECT_LE(worst(folded, whole), kFloat32Bound);
  }
}

// A conversation: an answer is written, read, and the next question read behind it.
TEST_P(Sequences, ReadingGoesOnBehindWhatWasWritten) {
  std::vector<int32_t> tokens = ids(8, 20);
  Logits expected = alone(tokens, 17);
  auto state = model_->new_state(*caches_);
  read(*state, {tokens.data(), 6});
  write(*state, std::span(tokens).subspan(6, 5));
  EXPECT_THROW(read(*state, {tokens.data(), 1}), LogicError);
  tape_.reset();
  model_->fold(tape_, *state);
  read(*state, std::span(tokens).subspan(11, 6));
  EXPECT_LE(worst(write(*state, std::span(tokens).subspan(17)), expected), kFloat32Bound);
}

TEST_P(Sequences, FullCachesRefuseOneSequenceAndKeepTheOthers) {
  std::vector<int32_t> tokens = ids(9, 20);
  // Pages for one sequence and no more.
  auto probe = model_->new_state(*caches_);
  read(*probe, {tokens.data(), 15});
  write(*probe, {tokens.data() + 15, 1});
  auto caches = model_->new_caches({.bytes = probe->page_bytes().with_encoder});
  auto state = model_->new_state(*caches), late = model_->new_state(*caches);
  read(*state, {tokens.data(), 15});
  write(*state, {tokens.data() + 15, 1});
  EXPECT_EQ(caches->bytes_in_use(), caches->limit());
  EXPECT_FALSE(late->reserve_read(1));
  EXPECT_THROW(read(*late, {tokens.data(), 3}), InputError);
  EXPECT_THROW(write(*late, {tokens.data(), 1}), InputError);
  EXPECT_EQ(late->length(), 0);
  Logits expected = alone(tokens, 15);
  Logits rest = write(*state, std::span(tokens).subspan(16));
  EXPECT_LE(worst(rest, Logits(expected.begin() + 1, expected.end())), kFloat32Bound);
  state.reset();
  EXPECT_EQ(caches->bytes_in_use(), 0);
  read(*late, {tokens.data(), 15});
  EXPECT_LE(worst(write(*late, std::span(tokens).subspan(15)), expected), kFloat32Bound);
}

TEST_P(Sequences, UnsharedForksHoldAsMuchOnceMore) {
  std::vector<int32_t> tokens = ids(7, 16);
  Logits expected = alone(tokens, 9);
  auto state = model_->new_state(*caches_);
  read(*state, {tokens.data(), 9});
  write(*state, {tokens.data() + 9, 2});
  int64_t one = caches_->bytes_in_use();
  auto branch = state->fork();
  EXPECT_EQ(caches_->bytes_in_use(), one);
  ASSERT_TRUE(branch->unshare());
  EXPECT_EQ(caches_->bytes_in_use(), 2 * one);
  state.reset();
  Logits rest = write(*branch, std::span(tokens).subspan(11));
  EXPECT_LE(worst(rest, Logits(expected.begin() + 2, expected.end())), kFloat32Bound);
}

// What pass_share() says, by changing one parameter after the other for one kind of pass. What a pass runs may be more
// than what counts in the end: of a decoder-only model's last layer only keys and values
// are kept.
TEST_P(Sequences, PassesNeedTheParametersThatTheModelNames) {
  std::vector<int32_t> tokens = ids(8, 20);
  auto read_some = [&] {
    auto state = model_->new_state(*caches_);
    read(*state, {tokens.data(), 12});
    return state;
  };
  auto write_rest = [&](State& state) { return write(state, std::span(tokens).subspan(12)); };
  Logits expected = write_rest(*read_some());
  int64_t only_read = 0, only_written = 0;
  for (Parameter& parameter : model_->parameters().all()) {
    auto* values = parameter.master().as<float>();
    std::vector<float> kept(values, values + parameter.master().elements());
    auto change = [&] {
      for (size_t i = 0; i < kept.size(); ++i) values[i] = 0.5f * kept[i] + (i % 2 ? 0.1f : -0.2f);
    };
    auto restore = [&] { std::copy(kept.begin(), kept.end(), values); };
    bool looked_up = parameter.group() == MupGroup::embedding;
    bool reads = model_->pass_share(PassKind::read, parameter) > 0;
    bool writes = model_->pass_share(PassKind::write, parameter) > 0;
    change();
    auto state = read_some();
    restore();
    if (!reads && !looked_up) {
      EXPECT_EQ(write_rest(*state), expected) << "read: " << parameter.name();
    }
    state = read_some();
    change();
    Logits logits = write_rest(*state);
    restore();
    if (!writes) {
      EXPECT_EQ(logits, expected) << "write: " << parameter.name();
    }
    if (writes) {
      EXPECT_NE(logits, expected) << "write: " << parameter.name();
    }
    only_read += reads && !writes ? 1 : 0;
    only_written += writes && !reads ? 1 : 0;
  }
  EXPECT_GT(only_written, 0) << "the output's table at least";
  if (config_.arch == Arch::decoder) {
    EXPECT_EQ(only_read, 0);
  }
  if (config_.arch == Arch::double_decoder) {
    EXPECT_GT(only_read, 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Small, Sequences, testing::ValuesIn(small_configs()),
                         [](const auto& test) { return test.param.name; });

// With packed weights a sequence's logits are the same bits whatever else is in a pass and however its prompt was cut.
class PackedSequences : public testing::TestWithParam<NamedConfig> {};

TEST_P(PackedSequences, BitsDoNotDependOnThePass) {
  ModelConfig config = GetParam().config;
  config.max_seq_len = 300;
  Context ctx(2);
  struct Format {
    kernels::WeightFormat weights;
    Precision precision;
  };
  std::vector<Format> formats{{kernels::WeightFormat::f32, Precision::float32()},
                              {kernels::WeightFormat::int8, Precision::float32()}};
  if (has_bf16_products(ctx.isa())) {
    formats.push_back({kernels::WeightFormat::bf16, Precision::bfloat16()});
    formats.push_back({kernels::WeightFormat::int4, Precision::bfloat16()});
  }
  for (const Format& format : formats) {
    auto model = random_model(config, format.precision);
    model->parameters().pack(ctx, format.weights);
    Tape tape(ctx, format.precision, Tape::Mode::no_grad);
    auto caches = model->new_caches({});
    auto ids = [&](size_t i) { return random_rows(config, 1, static_cast<int64_t>(66 + 37 * i % 200), 20 + i).ids; };
    // Reads in pieces of `chunk`, `batch` sequences in a pass, the first of them last; four tokens are written, some at
    // a time, over the border of a page.
    auto run = [&](size_t batch, size_t chunk, size_t at_once = 1) {
      std::vector<std::vector<int32_t>> tokens;
      std::vector<std::unique_ptr<State>> states;
      for (size_t i = 0; i < batch; ++i) {
        tokens.push_back(ids(batch - 1 - i));
        states.push_back(model->new_state(*caches));
      }
      for (size_t begin = 0; begin < 260; begin += chunk) {
        std::vector<Piece> pieces;
        for (size_t i = 0; i < batch; ++i) {
          size_t prompt = tokens[i].size() - 4, first = std::min(begin, prompt), end = std::min(begin + chunk, prompt);
          if (end > first) pieces.push_back({states[i].get(), std::span(tokens[i]).subspan(first, end - first)});
        }
        tape.reset();
        model->read(tape, pieces);
      }
      std::vector<float> out;
      Storage logits(DType::f32, {static_cast<int64_t>(batch * at_once), config.vocab_size});
      for (size_t step = 0; step < 4; step += at_once) {
        std::vector<Piece> pieces;
        for (size_t i = 0; i < batch; ++i) {
          pieces.push_back({states[i].get(), std::span(tokens[i]).subspan(tokens[i].size() - 4 + step, at_once)});
        }
        tape.reset();
        model->write(tape, pieces, logits.tensor());
        const float* last = logits.tensor().row<float>(static_cast<int64_t>((batch - 1) * at_once));
        out.insert(out.end(), last, last + static_cast<int64_t>(at_once) * config.vocab_size);
      }
      return out;
    };
    std::vector<float> alone = run(1, 300);
    for (size_t batch : {size_t{2}, size_t{4}, size_t{8}}) {
      EXPECT_EQ(run(batch, 300), alone) << weight_format_name(format.weights) << ", " << batch << " sequences";
    }
    for (size_t at_once : {size_t{2}, size_t{4}}) {
      EXPECT_EQ(run(1, 300, at_once), alone) << weight_format_name(format.weights) << ", " << at_once << " at once";
      EXPECT_EQ(run(5, 300, at_once), alone) << weight_format_name(format.weights) << ", 5 by " << at_once;
    }
    if (!model->reads_in_pieces()) continue;
    for (size_t chunk : {size_t{1}, size_t{7}, size_t{64}, size_t{100}}) {
      EXPECT_EQ(run(1, chunk), alone) << weight_format_name(format.weights) << ", pieces of " << chunk;
      EXPECT_EQ(run(3, chunk), alone) << weight_format_name(format.weights) << ", 3 in pieces of " << chunk;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Small, PackedSequences, testing::ValuesIn(small_configs()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace tandem::test
