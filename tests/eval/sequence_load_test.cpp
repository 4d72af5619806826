#include "eval/sequence_load.h"

#include <gtest/gtest.h>

#include <map>

#include "arch/model_check.h"
#include "cache/recent_rows.h"
#include "eval/serving_load.h"

namespace tandem::test {
namespace {

ModelConfig long_rows(ModelConfig config) {
  config.max_seq_len = 512;
  return config;
}

class Loads : public testing::TestWithParam<NamedConfig> {
 protected:
  // Pages of the shared keys and values of all tokens, and of the lower half's latest ones, whose pages are measured
  // with a single token.
  int64_t yoco_bytes(int64_t tokens) {
    auto pages = [](int64_t count) { return (count + kPageTokens - 1) / kPageTokens; };
    int64_t keep = config_.self_decoder == SelfDecoder::sliding_window ? config_.window - 1 : 1;
    int64_t gone = std::max<int64_t>(0, tokens - keep - RecentRows::kSlack) / kPageTokens;
    int64_t shared = kPageTokens * 2 * config_.kv_heads() * config_.head_size() * 4;
    int64_t recent = measure_cache(tape_, *model_, 1, 48)->live - shared;
    return pages(tokens) * shared + (pages(tokens) - gone) * recent;
  }

  ModelConfig config_ = long_rows(GetParam().config);
  Context ctx_{1};
  std::unique_ptr<Model> model_ = random_model(config_, Precision::float32());
  Tape tape_{ctx_, Precision::float32(), Tape::Mode::no_grad};
};

TEST_P(Loads, FiguresAreThoseOfWholePages) {
  for (int64_t context : {1, 64, 70, 200}) {
    StateBytes figures = *measure_cache(tape_, *model_, context, 48);
    SequencePages pages = sequence_pages(*model_, context, 0);
    if (config_.arch == Arch::yoco) {
      // The lower half gives pages back as it goes on, while room for a pass and for taking back what it wrote is kept
      // for it: it holds less than it is given, and exactly what its latest tokens need.
      EXPECT_LE(figures.live, pages.writing) << context;
      EXPECT_EQ(figures.live, yoco_bytes(context)) << context;
      EXPECT_EQ(figures.with_encoder, figures.live) << context;
    } else {
      EXPECT_EQ(figures.live, pages.writing) << context;
      EXPECT_EQ(figures.with_encoder, pages.reading) << context;
    }
    EXPECT_GE(figures.with_encoder, figures.live);
    EXPECT_GT(figures.at_rest, 0);
    SequenceLoad load(tape_, *model_, context, 3);
    ASSERT_TRUE(load.read(1, 48).has_value());
    ASSERT_TRUE(load.resize(3, 48));
    EXPECT_EQ(load.sequences(), 3);
    EXPECT_GT(load.write(), 0);
    ASSERT_TRUE(load.resize(2, 48));
    load.write();
    EXPECT_EQ(load.sequences(), 2);
  }
}

// What is timed is a whole cycle: every stack of layers runs as often as it does while a long text is written.
TEST_P(Loads, StepsAreThoseOfWholeCycles) {
  for (int64_t context : {5, 6, 7, 8, 9, 66}) {
    SequenceLoad load(tape_, *model_, context, 2);
    ASSERT_TRUE(load.resize(2, 48));
    load.write();
    ctx_.profiler().enable(true);
    auto counts = [&] {
      std::map<std::string_view, int64_t> out;
      for (const ProfileEntry& entry : ctx_.profiler().entries()) out[entry.name] = entry.calls;
      return out;
    };
    std::map<std::string_view, int64_t> before = counts();
    load.write();
    std::map<std::string_view, int64_t> one = counts();
    for (int i = 0; i < 3; ++i) load.write();
    std::map<std::string_view, int64_t> four = counts();
    for (auto& [name, count] : one) {
      int64_t calls = count - before[name];
      EXPECT_EQ(four[name] - count, 3 * calls) << name << " at " << context;
    }
    if (config_.arch != Arch::block_transformer || config_.block.embedder != BlockEmbedder::lookup) continue;
    if (config_.block.token_decoder == TokenDecoder::cross_attention) continue;
    // The block decoder once, the token decoder for every token.
    EXPECT_EQ(one["attention"] - before["attention"],
              config_.n_encoder_layers + config_.block.length * config_.n_decoder_layers);
  }
}

TEST_P(Loads, StopIsLookedAtBeforeEveryPass) {
  SequenceLoad load(tape_, *model_, 100, 2);
  int asked = 0;
  EXPECT_FALSE(load.read(2, 30, [&] { return ++asked == 2; }).has_value());
  EXPECT_EQ(asked, 2);
  EXPECT_EQ(load.sequences(), 0);
}

INSTANTIATE_TEST_SUITE_P(Small, Loads, testing::ValuesIn(small_configs()),
                         [](const auto& test) { return test.param.name; });

// 8+4 layers against 12, and the bytes that a step must read, by hand.
struct Read {
  StateBytes figures;
  double bytes = 0;
};
Read read_with(Arch arch, MemoryKv memory_kv, kernels::WeightFormat format) {
  ModelConfig config = long_rows(small_config(arch));
  config.dim = 64;
  config.n_encoder_layers = 8;
  config.n_decoder_layers = 4;
  config.memory_kv = memory_kv;
  Context ctx(1);
  auto model = random_model(config, Precision::float32());
  if (format != kernels::WeightFormat::f32) model->parameters().pack(ctx, format);
  Tape tape(ctx, Precision::float32(), Tape::Mode::no_grad);
  SequenceLoad load(tape, *model, 128, 2);
  load.resize(2, 64);
  load.write();
  return {*measure_cache(tape, *model, 128, 64), load.bytes_read_per_step()};
}

TEST(SequenceLoad, ADoubleDecoderHoldsAThird) {
  auto format = kernels::WeightFormat::f32;
  StateBytes twin = read_with(Arch::decoder, MemoryKv::per_layer_shared, format).figures;
  StateBytes own = read_with(Arch::double_decoder, MemoryKv::per_layer_shared, format).figures;
  StateBytes one = read_with(Arch::double_decoder, MemoryKv::one_for_all, format).figures;
  EXPECT_EQ(twin.live, 2 * 64 * 12 * 2 * 64 * 4);  // pages of 64 tokens, layers, keys and values, width, float32
  EXPECT_EQ(twin.with_encoder, twin.live);
  EXPECT_EQ(3 * own.live, twin.live);
  EXPECT_EQ(own.with_encoder, twin.live);
  EXPECT_EQ(12 * one.live, twin.live);
  EXPECT_EQ(twin.at_rest, twin.live);
  EXPECT_EQ(24 * own.at_rest, twin.live);
  EXPECT_EQ(24 * one.at_rest, twin.live);
  EXPECT_EQ(12 * one.with_encoder, 9 * twin.live);
}

TEST(SequenceLoad, BytesReadAreWeightsOnceAndEveryCache) {
  const double d = 64, vocabulary = 29;
  // Attention 4 d^2, MLP 8 d^2, two norms; the output norm has two vectors.
  double layer = 12 * d * d + 2 * d, head = vocabulary * d + 2 * d, looked_up = 2 * d;
  double per_token = 2 * d;  // keys and values of one layer
  auto bytes = [](Arch arch, MemoryKv memory_kv) {
    return read_with(arch, memory_kv, kernels::WeightFormat::f32).bytes;
  };
  // Two sequences: 128 tokens read, one written before, one in the step.
  EXPECT_EQ(bytes(Arch::decoder, MemoryKv::per_layer_shared),
            4 * (12 * layer + head + looked_up + 2 * 12 * per_token * 130));
  EXPECT_EQ(bytes(Arch::double_decoder, MemoryKv::per_layer_shared),
            4 * (4 * layer + head + looked_up + 2 * 4 * per_token * 130));
  // A second projection of memory is not read in a step.
  EXPECT_EQ(bytes(Arch::double_decoder, MemoryKv::per_layer),
            4 * (4 * layer + head + looked_up + 2 * 4 * per_token * 130));
  EXPECT_EQ(bytes(Arch::double_decoder, MemoryKv::one_for_all),
            4 * (4 * layer + head + looked_up + 2 * per_token * (128 + 4 * 2)));
  // A cross-attention more per layer, without its projection of keys and values; BOS stands before what is written.
  EXPECT_EQ(bytes(Arch::encoder_decoder, MemoryKv::per_layer_shared),
            4 * (4 * (layer + 2 * d * d + d) + head + looked_up + 2 * 4 * per_token * 131));
}

// Two block and two token layers of width 32, blocks of four tokens behind three pads, a prefix of two vectors.
TEST(SequenceLoad, ABlockDecodersCacheIsReadOncePerBlock) {
  ModelConfig config = long_rows(small_config(Arch::block_transformer));
  Context ctx(1);
  auto model = random_model(config, Precision::float32());
  Tape tape(ctx, Precision::float32(), Tape::Mode::no_grad);
  auto cache = [&](int64_t context, auto&& write) {
    SequenceLoad load(tape, *model, context, 2);
    load.resize(2, 64);
    write(load);
    return (load.bytes_read_per_step() - weight_bytes_per_pass(*model, PassKind::write, 2)) / 2;
  };
  const double row = 2 * 2 * 32 * 4;  // keys and values of two layers
  // 128 tokens, and four more up to where a cycle begins: its first pass reads 34 blocks and the prefix's first rows,
  // the next three the rows of the block being written.
  double cycle = cache(128, [](SequenceLoad& load) { load.write(); });
  EXPECT_DOUBLE_EQ(cycle, row * (34 + 2 + 3 + 4 + 5) / 4);
  // A context of which nothing is left to write up to there.
  EXPECT_DOUBLE_EQ(cache(60, [](SequenceLoad& load) { load.write(); }), row * (17 + 2 + 3 + 4 + 5) / 4);
  // One pass alone reads the blocks where it opens one.
  EXPECT_DOUBLE_EQ(cache(128, [](SequenceLoad& load) { load.write_first(); }), row * (34 + 2));
}

TEST(SequenceLoad, PackedWeightsAreReadAsTheyArePacked) {
  const double d = 64;
  auto bytes = [](kernels::WeightFormat format) {
    return read_with(Arch::decoder, MemoryKv::per_layer_shared, format).bytes;
  };
  // The vocabulary of 29 is padded to a panel of 32 rows in every packed format.
  double matrices = 12 * 12 * d * d + 32 * d, outputs = 12 * 9 * d + 32;
  double rest = 4 * (12 * 2 * d + 2 * d + 2 * d + 2 * 12 * 2 * d * 130);
  EXPECT_EQ(bytes(kernels::WeightFormat::int8), matrices + 4 * outputs + rest);
  EXPECT_EQ(bytes(kernels::WeightFormat::int4), matrices * 4.5 / 8 + rest);
}

}  // namespace
}  // namespace tandem::test
