// The forms of a sequence's state: whatever was dropped and made again in between, the logits are those of a sequence
// that was left alone, and the figures are those of pages that are there.
#include <filesystem>

#include "arch/sequence_check.h"
#include "base/error.h"
#include "base/file.h"
#include "base/temporary_folder.h"

namespace tandem::test {
namespace {

namespace fs = std::filesystem;

class StateForms : public SequenceTest {
 protected:
  StateForms() { caches_ = model_->new_caches({.keep_outputs = true}); }

  bool has_encoder() const { return !has_one_side(config_); }
  std::unique_ptr<State> resting(std::span<const int32_t> tokens) {
    auto state = model_->new_state(*caches_);
    read(*state, tokens);
    state->settle();
    state->rest();
    EXPECT_EQ(state->resting(), has_encoder());
    return state;
  }
};

TEST_P(StateForms, FiguresAreThoseOfTheCostsAndOfThePages) {
  std::vector<int32_t> tokens = ids(1, 15);
  auto state = model_->new_state(*caches_);
  read(*state, tokens);
  Costs costs = model_->costs();
  StateBytes bytes = state->token_bytes(), pages = state->page_bytes();
  auto cached = static_cast<double>(cached_tokens(config_, 15));
  EXPECT_EQ(static_cast<double>(bytes.live), costs.cache_bytes_constant + cached * costs.cache_bytes_per_token);
  EXPECT_EQ(static_cast<double>(bytes.with_encoder),
            costs.cache_bytes_constant + cached * costs.cache_bytes_with_encoder);
  EXPECT_EQ(static_cast<double>(bytes.at_rest), costs.cache_bytes_constant + cached * costs.cache_bytes_at_rest);
  int64_t vectors = has_encoder() ? pages.at_rest : 0;  // which are there beside what is live
  EXPECT_EQ(caches_->bytes_in_use(), pages.with_encoder + vectors);
  state->rest();
  EXPECT_EQ(caches_->bytes_in_use(), pages.at_rest);
  EXPECT_EQ(state->page_bytes().at_rest, pages.at_rest);
  EXPECT_EQ(state->page_bytes().live, has_encoder() ? 0 : pages.live) << "what is not there counts nothing";
  model_->wake(tape_, *state);
  EXPECT_FALSE(state->resting());
  EXPECT_EQ(state->page_bytes().live, pages.live);
  EXPECT_EQ(state->length(), 15);
}

TEST_P(StateForms, WritingWakesAStateAtRest) {
  std::vector<int32_t> tokens = ids(2, 20);
  for (size_t first : {size_t{1}, size_t{9}, size_t{17}}) {
    Logits expected = alone(tokens, first);
    auto state = resting({tokens.data(), first});
    EXPECT_EQ(state->length(), static_cast<int64_t>(first));
    EXPECT_LE(worst(write(*state, std::span(tokens).subspan(first)), expected), kFloat32Bound) << first;
  }
}

TEST_P(StateForms, ReadingWakesAStateAtRest) {
  std::vector<int32_t> tokens = ids(3, 20);
  Logits expected = alone(tokens, 17);
  for (EncoderState policy : {EncoderState::keep, EncoderState::recompute}) {
    caches_ = model_->new_caches({.encoder = policy, .keep_outputs = true});
    auto state = resting({tokens.data(), 6});
    read(*state, std::span(tokens).subspan(6, 4));
    state->rest();
    read(*state, std::span(tokens).subspan(10, 7));
    StateBytes bytes = state->token_bytes();
    EXPECT_EQ(static_cast<double>(bytes.at_rest),
              model_->costs().cache_bytes_constant +
                  static_cast<double>(cached_tokens(config_, 17)) * model_->costs().cache_bytes_at_rest);
    EXPECT_LE(worst(write(*state, std::span(tokens).subspan(17)), expected), kFloat32Bound);
  }
}

TEST_P(StateForms, AnOpenBlockRestsToo) {
  std::vector<int32_t> tokens = ids(4, 20);
  for (size_t first : {size_t{0}, size_t{7}}) {
    Logits expected = alone(tokens, first);
    auto state = model_->new_state(*caches_);
    read(*state, {tokens.data(), first});
    write(*state, std::span(tokens).subspan(first, 5));
    state->rest();
    EXPECT_EQ(state->written(), 5);
    Logits rest = write(*state, std::span(tokens).subspan(first + 5));
    EXPECT_LE(worst(rest, Logits(expected.begin() + 5, expected.end())), kFloat32Bound) << first;
  }
}

TEST_P(StateForms, BranchesOfAStateAtRestWakeByThemselves) {
  std::vector<int32_t> tokens = ids(5, 16), other = ids(6, 16);
  std::copy_n(tokens.begin(), 9, other.begin());
  auto state = resting({tokens.data(), 9});
  auto branch = state->fork(), asleep = state->fork();
  Logits a = write(*state, std::span(tokens).subspan(9)), b = write(*branch, std::span(other).subspan(9));
  EXPECT_EQ(asleep->resting(), has_encoder());
  EXPECT_LE(worst(a, alone(tokens, 9)), kFloat32Bound);
  EXPECT_LE(worst(b, alone(other, 9)), kFloat32Bound);
  EXPECT_LE(worst(write(*asleep, std::span(tokens).subspan(9)), a), kFloat32Bound);
}

TEST_P(StateForms, TheBeginningOfAStateAtRestIsAState) {
  if (!model_->reads_in_pieces()) GTEST_SKIP() << "both directions are read";
  std::vector<int32_t> tokens = ids(7, 18);
  auto state = resting({tokens.data(), 15});
  auto beginning = state->fork();
  ASSERT_TRUE(beginning->keep_read(8));
  EXPECT_EQ(beginning->length(), 8);
  EXPECT_EQ(static_cast<double>(beginning->token_bytes().at_rest),
            model_->costs().cache_bytes_constant +
                static_cast<double>(cached_tokens(config_, 8)) * model_->costs().cache_bytes_at_rest);
  EXPECT_LE(worst(write(*beginning, std::span(tokens).subspan(8)), alone(tokens, 8)), kFloat32Bound);
  EXPECT_LE(worst(write(*state, std::span(tokens).subspan(15)), alone(tokens, 15)), kFloat32Bound);
}

TEST_P(StateForms, WithoutOutputsNothingRests) {
  auto caches = model_->new_caches({});
  auto state = model_->new_state(*caches);
  read(*state, ids(8, 10));
  StateBytes pages = state->page_bytes();
  EXPECT_EQ(pages.at_rest, pages.live);
  state->rest();
  EXPECT_FALSE(state->resting());
  EXPECT_EQ(state->page_bytes().with_encoder, pages.with_encoder);
}

TEST_P(StateForms, AStateThatCannotWakeGoesOnResting) {
  if (!has_encoder()) GTEST_SKIP() << "it never rests";
  std::vector<int32_t> tokens = ids(9, 12);
  Logits expected = alone(tokens, 10);
  caches_ = model_->new_caches({.bytes = int64_t{1} << 20, .keep_outputs = true});
  auto state = resting({tokens.data(), 10});
  std::vector<std::unique_ptr<State>> others;  // each takes what it needs to wake
  do {
    others.push_back(state->fork());
  } while (others.back()->reserve_write(0));
  EXPECT_THROW(model_->wake(tape_, *state), InputError);
  EXPECT_THROW(write(*state, std::span(tokens).subspan(10)), InputError);
  EXPECT_TRUE(state->resting());
  others.clear();
  EXPECT_LE(worst(write(*state, std::span(tokens).subspan(10)), expected), kFloat32Bound);
}

// What settle() would drop is not held on the way there, beside sequences that hold it, bit for bit.
TEST_P(StateForms, APromptReadAtOnceHoldsNoEncoderState) {
  std::vector<int32_t> tokens = ids(12, 20), other = ids(13, 14);
  const auto all = std::span(tokens);
  const size_t first = 9, more = 15;
  model_->parameters().pack(ctx_, kernels::WeightFormat::f32);  // whose products don't depend on the rows beside
  caches_ = model_->new_caches({});
  auto kept = model_->new_state(*caches_);
  EXPECT_FALSE(kept->read_at_once()) << "it stays";
  read(*kept, all.first(first));
  Logits expected = write(*kept->fork(), all.subspan(first));
  read(*kept, all.subspan(first, more - first));
  Logits expected_more = write(*kept, all.subspan(more));
  kept.reset();

  kept = nullptr;  // states do not outlive their caches
  caches_ = model_->new_caches({.encoder = EncoderState::recompute});
  auto state = model_->new_state(*caches_), neighbour = model_->new_state(*caches_);
  bool drops = config_.arch == Arch::double_decoder;
  ASSERT_EQ(state->read_at_once(), drops);
  read(*neighbour, std::span(other).first(5));
  read({{state.get(), all.first(first)}, {neighbour.get(), std::span(other).subspan(5)}});
  EXPECT_FALSE(state->read_at_once()) << "something was read";
  StateBytes bytes = state->page_bytes();
  EXPECT_EQ(bytes.with_encoder, bytes.live);
  EXPECT_EQ(neighbour->page_bytes().with_encoder > neighbour->page_bytes().live, drops);
  state->settle();
  EXPECT_EQ(worst(write(*state->fork(), all.subspan(first)), expected), 0);
  read(*state, all.subspan(first, more - first));
  EXPECT_EQ(caches_->counts().recomputed > 0, !has_one_side(config_));
  EXPECT_LE(worst(write(*state, all.subspan(more)), expected_more), kFloat32Bound);
}

// The encoder's own state in files: reading goes on from them, and where they are not whole the encoder reads again.
TEST_P(StateForms, SpilledStatesAreReadOn) {
  std::vector<int32_t> tokens = ids(10, 20), other = ids(11, 20);
  std::copy_n(tokens.begin(), 8, other.begin());
  Logits expected = alone(tokens, 17), expected_other = alone(other, 17);
  const bool spills = config_.arch == Arch::double_decoder;
  for (bool outputs : {false, true}) {
    TemporaryFolder folder;
    auto files = [&] { return std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()); };
    caches_ =
        model_->new_caches({.encoder = EncoderState::spill, .keep_outputs = outputs, .spill_folder = folder.path()});
    {
      auto state = model_->new_state(*caches_);
      read(*state, {tokens.data(), 12});
      state->settle();
      EXPECT_EQ(state->page_bytes().with_encoder, state->page_bytes().live);
      EXPECT_EQ(files(), spills ? 1 : 0);
      state->rest();
      auto branch = state->fork();
      read(*state, std::span(tokens).subspan(12, 5));
      state->settle();
      if (model_->reads_in_pieces()) {
        ASSERT_TRUE(branch->keep_read(8));
        read(*branch, std::span(other).subspan(8, 9));
        branch->settle();
        EXPECT_LE(worst(write(*branch, std::span(other).subspan(17)), expected_other), kFloat32Bound);
      }
      if (spills) {
        EXPECT_EQ(caches_->counts().restored, 12 + 8);
        EXPECT_EQ(caches_->counts().recomputed, 0);
        EXPECT_EQ(files(), 3);
      }
      EXPECT_LE(worst(write(*state, std::span(tokens).subspan(17)), expected), kFloat32Bound);
    }
    EXPECT_EQ(files(), 0) << "they go with the states";
    EXPECT_EQ(caches_->bytes_in_use(), 0);
  }
}

TEST_P(StateForms, LostAndDamagedFilesCostTimeAndNothingElse) {
  if (config_.arch != Arch::double_decoder) GTEST_SKIP() << "nothing is spilled";
  std::vector<int32_t> tokens = ids(12, 20);
  Logits expected = alone(tokens, 17);
  for (const char* fault : {"lost", "cut", "changed", "no folder"}) {
    TemporaryFolder folder;
    fs::path spilled = folder.path() / "spilled";
    caches_ = model_->new_caches({.encoder = EncoderState::spill, .keep_outputs = true, .spill_folder = spilled});
    auto state = model_->new_state(*caches_);
    if (fault == std::string("no folder")) fs::remove_all(spilled);
    read(*state, {tokens.data(), 12});
    state->settle();
    if (fs::exists(spilled)) {
      fs::path file = fs::directory_iterator(spilled)->path();
      std::string bytes = read_file(file);
      if (fault == std::string("lost")) fs::remove(file);
      if (fault == std::string("cut")) fs::resize_file(file, 100);
      bytes[70] = static_cast<char>(bytes[70] ^ 4);
      if (fault == std::string("changed")) put_file(file, bytes);
    }
    read(*state, std::span(tokens).subspan(12, 5));
    EXPECT_EQ(caches_->counts().recomputed, 12) << fault;
    EXPECT_EQ(caches_->counts().restored, 0) << fault;
    state->settle();
    EXPECT_LE(worst(write(*state, std::span(tokens).subspan(17)), expected), kFloat32Bound) << fault;
  }
  EXPECT_THROW(model_->new_caches({.encoder = EncoderState::spill}), InputError);
}

INSTANTIATE_TEST_SUITE_P(Small, StateForms, testing::ValuesIn(small_configs()),
                         [](const auto& test) { return test.param.name; });

// With packed weights what is projected again is the same bits.
class PackedStateForms : public testing::TestWithParam<NamedConfig> {};

TEST_P(PackedStateForms, AStateWakesToTheSameBits) {
  ModelConfig config = GetParam().config;
  config.max_seq_len = 200;
  Context ctx(2);
  struct Format {
    kernels::WeightFormat weights;
    Precision precision;
  };
  std::vector<Format> formats{{kernels::WeightFormat::f32, Precision::float32()},
                              {kernels::WeightFormat::int4, Precision::float32()}};
  if (has_bf16_products(ctx.isa())) formats.push_back({kernels::WeightFormat::bf16, Precision::bfloat16()});
  std::vector<int32_t> tokens = random_rows(config, 1, 160, 3).ids;
  for (const Format& format : formats) {
    auto model = random_model(config, format.precision);
    model->parameters().pack(ctx, format.weights);
    Tape tape(ctx, format.precision, Tape::Mode::no_grad);
    auto caches = model->new_caches({.keep_outputs = true});
    auto read = [&](State& state, size_t begin, size_t end) {
      Piece piece{&state, std::span(tokens).subspan(begin, end - begin)};
      tape.reset();
      model->read(tape, {&piece, 1});
    };
    auto written = [&](State& state) {
      Storage logits(DType::f32, {10, config.vocab_size});
      Piece piece{&state, std::span(tokens).last(10)};
      tape.reset();
      model->write(tape, {&piece, 1}, logits.tensor());
      const float* first = logits.tensor().as<float>();
      return std::vector<float>(first, first + logits.tensor().elements());
    };
    auto live = model->new_state(*caches), rested = model->new_state(*caches);
    for (size_t end : {size_t{70}, size_t{150}}) {
      size_t begin = end == 70 ? 0 : 70;
      read(*live, begin, end);
      read(*rested, begin, end);
      rested->rest();
    }
    EXPECT_EQ(written(*rested), written(*live)) << weight_format_name(format.weights);
  }
}

INSTANTIATE_TEST_SUITE_P(Small, PackedStateForms, testing::ValuesIn(small_configs()),
                         [](const auto& test) { return test.param.name; });

// The claim of the architecture, on pages that are really there: 8+4 layers against 12.
TEST(StatePages, ADoubleDecoderHoldsAThirdAndAtRestA24th) {
  Context ctx(1);
  auto held = [&](Arch arch, MemoryKv memory_kv, EncoderState policy, bool at_rest) {
    ModelConfig config = small_config(arch);
    config.n_encoder_layers = 8;
    config.n_decoder_layers = 4;
    config.max_seq_len = 256;
    config.memory_kv = memory_kv;
    auto model = random_model(config, Precision::float32());
    auto caches = model->new_caches({.encoder = policy, .keep_outputs = at_rest});
    auto state = model->new_state(*caches);
    Tape tape(ctx, Precision::float32(), Tape::Mode::no_grad);
    std::vector<int32_t> tokens(192, 5);
    Piece piece{state.get(), tokens};
    model->read(tape, {&piece, 1});
    state->settle();
    StateBytes pages = state->page_bytes();
    if (at_rest) {
      state->rest();
      EXPECT_EQ(caches->bytes_in_use(), pages.at_rest);
    } else {
      EXPECT_EQ(caches->bytes_in_use(), pages.with_encoder);
    }
    return pages;
  };
  const MemoryKv per_layer = MemoryKv::per_layer_shared;
  StateBytes twin = held(Arch::decoder, per_layer, EncoderState::keep, true);
  EXPECT_EQ(twin.at_rest, twin.live);
  StateBytes kept = held(Arch::double_decoder, per_layer, EncoderState::keep, false);
  EXPECT_EQ(3 * kept.live, twin.live);
  EXPECT_EQ(kept.with_encoder, twin.live);
  StateBytes dropped = held(Arch::double_decoder, per_layer, EncoderState::recompute, false);
  EXPECT_EQ(3 * dropped.with_encoder, twin.live);
  StateBytes one = held(Arch::double_decoder, MemoryKv::one_for_all, EncoderState::recompute, false);
  EXPECT_EQ(12 * one.with_encoder, twin.live);
  for (MemoryKv memory_kv : {per_layer, MemoryKv::one_for_all}) {
    for (EncoderState policy : {EncoderState::keep, EncoderState::recompute}) {
      EXPECT_EQ(24 * held(Arch::double_decoder, memory_kv, policy, true).at_rest, twin.live);
    }
  }
  StateBytes both_ways = held(Arch::encoder_decoder, per_layer, EncoderState::keep, true);
  EXPECT_EQ(24 * both_ways.at_rest, twin.live);
  // The table of docs/generation.md.
  EXPECT_EQ(twin.live, 589824);
  EXPECT_EQ(kept.live, 196608);
  EXPECT_EQ(one.live, 49152);
  EXPECT_EQ(held(Arch::double_decoder, MemoryKv::one_for_all, EncoderState::keep, false).with_encoder, 442368);
  EXPECT_EQ(both_ways.live, 196608);
  EXPECT_EQ(both_ways.with_encoder, 196608);
  EXPECT_EQ(both_ways.at_rest, 24576);
}

}  // namespace
}  // namespace tandem::test
