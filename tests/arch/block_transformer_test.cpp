// Blocks: their layout, random pads, and that every way through them gives the logits of the full forward.
#include "arch/block_transformer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "arch/model_check.h"
#include "base/error.h"
#include "base/json.h"
#include "base/temporary_folder.h"

namespace tandem::test {
namespace {

using Logits = std::vector<std::vector<double>>;

ModelConfig blocks_of(int64_t length) {
  ModelConfig config = small_config(Arch::block_transformer);
  config.max_seq_len = 64;
  config.block.length = length;
  config.block.random_first_block = false;
  // Lookup needs dim / length.
  config.dim = config.dim / length * length;
  while (config.dim % config.n_heads != 0 || config.dim / config.n_heads % 2 != 0) config.dim += length;
  return config;
}

// Any block length, embedder and token decoder.
ModelConfig random_config(Rng& rng) {
  ModelConfig config = blocks_of(1 + rng.below(7));
  config.n_encoder_layers = 1 + rng.below(2);
  config.n_decoder_layers = 1 + rng.below(2);
  BlockConfig& b = config.block;
  b.embedder = std::array{BlockEmbedder::lookup, BlockEmbedder::roberta, BlockEmbedder::cls}[rng.below(3)];
  b.token_decoder =
      std::array{TokenDecoder::prefix, TokenDecoder::summation, TokenDecoder::cross_attention}[rng.below(3)];
  b.rotary_fraction = 0.25 * rng.below(5);
  b.embedder_layers = 1;
  if (b.embedder != BlockEmbedder::lookup) {
    b.embedder_dim = 8;
    b.embedder_heads = 2;
    b.cls_tokens = 1 + rng.below(3);
    b.embedder_pad_id = rng.below(2) ? 1 : -1;
  }
  if (b.token_decoder != TokenDecoder::summation) b.expansion = 1 + rng.below(4);
  if (rng.below(2)) {
    b.token_dim = 16;
    b.token_heads = 2;
  }
  return config;
}

std::string text_of(const ModelConfig& config) {
  ModelConfig copy = config;
  FieldList fields;
  list_fields(fields, copy);
  return fields.to_json()["block"].dump();
}

Logits rows_of(const Tensor& t) {
  Logits out;
  for (int64_t r = 0; r < t.rows(); ++r) out.emplace_back(t.row<float>(r), t.row<float>(r) + t.row_size());
  return out;
}

class Writer {
 public:
  Writer(Context& ctx, Model& model)
      : model_(model),
        tape_(ctx, model.parameters().precision(), Tape::Mode::no_grad),
        caches_(model.new_caches({.tokens = 4096})) {}  // the reference copies all pages
  std::unique_ptr<State> state() { return model_.new_state(*caches_); }
  void read(State& state, std::span<const int32_t> ids) {
    tape_.reset();
    Piece piece{&state, ids};
    model_.read(tape_, {&piece, 1});
  }
  Logits write(State& state, std::span<const int32_t> ids) {
    tape_.reset();
    Storage logits(DType::f32, {static_cast<int64_t>(ids.size()), model_.config().vocab_size});
    Piece piece{&state, ids};
    model_.write(tape_, {&piece, 1}, logits.tensor());
    return rows_of(logits.tensor());
  }
  void fold(State& state) { model_.fold(tape_, state); }

 private:
  Model& model_;
  Tape tape_;
  std::unique_ptr<Caches> caches_;
};

// Logits come out in float32.
constexpr double kBound = 4e-6;

// Reading and writing in pieces of any size, taking back, branching and cutting off, in double: at every moment what is
// written next has the logits of the row.
TEST(BlockTransformer, EveryWayThroughTheBlocksIsTheFullForward) {
  Context ctx(2);
  Rng rng(11, 0);
  for (int round = 0; round < 24; ++round) {
    ModelConfig config = random_config(rng);
    SCOPED_TRACE(text_of(config));
    auto model = random_model(config, Precision::reference());
    constexpr int64_t kLength = 40;
    Batch batch = random_batch(config, 1, kLength, {}, 100 + static_cast<uint64_t>(round));
    Logits whole = logits_of(*model, batch, ctx);
    Writer writer(ctx, *model);
    std::unique_ptr<State> state = writer.state();
    std::span<const int32_t> ids = batch.ids;
    std::vector<int32_t> wrong(8, 7);
    for (int step = 0; step < 14; ++step) {
      int64_t at = state->length(), left = kLength - at;
      auto most = static_cast<uint32_t>(std::min<int64_t>(left, 9));
      auto count = most == 0 ? size_t{0} : size_t{1} + rng.below(most);
      auto piece = ids.subspan(static_cast<size_t>(at), count);
      switch (rng.below(5)) {
        case 0:
          writer.fold(*state);
          writer.read(*state, piece);
          break;
        case 1:  // written in vain, across borders too
          if (left >= 8) {
            writer.write(*state, wrong);
            state->unwrite(8);
          }
          break;
        case 2: {  // a branch goes on for itself
          std::unique_ptr<State> branch = state->fork();
          if (left >= 8) writer.write(*branch, wrong);
          break;
        }
        case 3:  // from a beginning of it on
          writer.fold(*state);
          EXPECT_TRUE(state->keep_read(at - std::min<int64_t>(at, rng.below(6))));
          break;
        default: {
          if (count == 0) break;
          Logits logits = writer.write(*state, piece);
          for (size_t i = 0; i < count; ++i) {
            EXPECT_LE(largest_difference(logits[i], whole[static_cast<size_t>(at) + i]), kBound) << at << " + " << i;
          }
        }
      }
    }
  }
}

// What it is all about: layers and caches of the block decoder see one row per block.
TEST(BlockTransformer, TheBlockDecoderRunsOncePerBlock) {
  Context ctx(1);
  ModelConfig config = blocks_of(4);
  auto model = random_model(config, Precision::float32());
  Batch batch = random_batch(config, 1, 41, {});
  int64_t block_rows = 0, token_rows = 0;
  model->observe([&](const std::string& name, const Tensor& value) {
    if (name == "hidden.enc.0") block_rows += value.rows();
    if (name == "hidden.dec.0") token_rows += value.rows();
  });
  Writer writer(ctx, *model);
  std::unique_ptr<State> state = writer.state();
  std::span<const int32_t> ids = batch.ids;
  writer.read(*state, ids.first(20));
  // Token 20 ends block 5; the last complete block before it, number 4 at token 16, is read by the first write.
  EXPECT_EQ(block_rows, 4);
  EXPECT_EQ(token_rows, 0);
  int64_t before = block_rows;
  for (size_t t = 20; t < 40; ++t) writer.write(*state, ids.subspan(t, 1));
  // Blocks 4 .. 9: six for five blocks of tokens, since the first was left by the reading.
  EXPECT_EQ(block_rows - before, 6);
  // Per block two prefix vectors and three tokens.
  EXPECT_EQ(token_rows, 5 * 5);
  EXPECT_EQ(state->length(), 40);
}

TEST(BlockTransformer, CacheIsAQuarterOfARowPerTokenAndTheOpenBlock) {
  Context ctx(1);
  for (TokenDecoder kind : {TokenDecoder::prefix, TokenDecoder::summation, TokenDecoder::cross_attention}) {
    ModelConfig config = blocks_of(4);
    config.block.token_decoder = kind;
    auto model = random_model(config, Precision::float32());
    Batch batch = random_batch(config, 1, 40, {});
    Writer writer(ctx, *model);
    std::unique_ptr<State> state = writer.state();
    std::span<const int32_t> ids = batch.ids;
    writer.read(*state, ids.first(29));  // 8 blocks, of which the last one waits
    double per_token = model->costs().cache_bytes_per_token;
    EXPECT_EQ(per_token, 2.0 * 2 * 32 * 4 / 4);
    EXPECT_EQ(static_cast<double>(state->bytes()), 7 * 4 * per_token);
    writer.write(*state, ids.subspan(29, 2));
    // Two layers' keys and values of the leading rows and of two tokens; in cross-attention heads of 8 features have 4
    // more, and there are four vectors for each layer; a summation keeps four vectors as they are.
    double own = kind == TokenDecoder::prefix      ? (2 + 2) * 2.0 * 2 * 32
                 : kind == TokenDecoder::summation ? (1 + 2) * 2.0 * 2 * 32 + 4 * 32
                                                   : (1 + 2) * 2.0 * 2 * 4 * 12 + 4 * 2.0 * 2 * 32;
    EXPECT_EQ(static_cast<double>(state->bytes()), 8 * 4 * per_token + 4 * own);
    EXPECT_EQ(state->page_bytes().live, state->page_bytes().with_encoder);
  }
}

TEST(BlockTransformer, CostsAreThoseOfItsRows) {
  ModelConfig config = blocks_of(4);
  config.max_seq_len = 64;
  double d = 32, v = 29, layer = 24 * d * d;
  auto costs = [&] {
    return make_model(config, Precision::float32(), ParameterStore::Gradients::none, "test")->costs();
  };
  // Two layers see 16 blocks; five rows, two vectors.
  double block = 2 * (layer + 4 * d * 16), tokens = 2 * 2 * d * d + 2 * 5 * (layer + 4 * d * 3);
  EXPECT_NEAR(costs().flops_per_generated_token, (block + tokens) / 4 + 2 * v * d, 1e-6);
  block = 2 * (layer + 4 * d * 8);
  EXPECT_NEAR(costs().flops_per_prompt_token, block / 4, 1e-6);
  EXPECT_NEAR(costs().flops_per_training_token, 3 * ((block + tokens) / 4 + 2 * v * d), 1e-6);
}

// As the authors' packing: a document begins at offset 0 .. 3 of a block and the next one in a block of its own.
TEST(BlockTransformer, PrepareDrawsWhereDocumentsBegin) {
  ModelConfig config = blocks_of(4);
  config.block.random_first_block = true;
  auto model = random_model(config, Precision::float32());
  std::vector<int> begins(4);
  for (uint64_t seed = 0; seed < 200; ++seed) {
    Batch batch = random_rows(config, 2, 30);
    for (int64_t t = 0; t < 60; ++t) batch.segments[static_cast<size_t>(t)] = t % 30 >= 9 ? 1 : 0;
    std::vector<int32_t> labels = batch.labels;
    Rng rng(seed, 0);
    model->prepare(batch, rng);
    for (int64_t row = 0; row < 2; ++row) {
      auto slot = [&](int64_t t) { return batch.positions[static_cast<size_t>(row * 30 + t)] + 3; };
      ++begins.at(static_cast<size_t>(slot(0)));
      EXPECT_EQ(slot(8), slot(0) + 8);
      EXPECT_EQ(slot(9) / 4, slot(8) / 4 + 1);
      EXPECT_EQ(slot(29), slot(9) + 20);
      for (int64_t t = 0; t < 30; ++t) {
        auto at = static_cast<size_t>(row * 30 + t);
        EXPECT_EQ(batch.labels[at], t + 1 < 30 && slot(t + 1) < 4 ? kIgnoreLabel : labels[at]);
      }
    }
    Context ctx(1);
    Tape tape(ctx, Precision::float32(), Tape::Mode::no_grad);
    if (seed < 5) {
      EXPECT_TRUE(std::isfinite(model->loss(tape, batch).sum));
    }
  }
  // 400 draws of four: 100 each, standard deviation 9.
  for (int count : begins) EXPECT_NEAR(count, 100, 45);
}

// Pads inside a row do not open a way around the masks.
TEST(BlockTransformer, BehindPadsTokensReachWhatFollowsAndNothingElse) {
  Context ctx(1);
  Rng rng(3, 3);
  for (int round = 0; round < 6; ++round) {
    ModelConfig config = random_config(rng);
    if (config.block.length == 1) continue;
    SCOPED_TRACE(text_of(config));
    config.block.random_first_block = true;
    auto model = random_model(config, Precision::reference());
    Batch batch = random_rows(config, 1, 30);
    for (int64_t t = 11; t < 30; ++t) batch.segments[static_cast<size_t>(t)] = 1;
    model->prepare(batch, rng);
    Logits before = logits_of(*model, batch, ctx);
    for (int64_t changed : {11, 15, 29}) {
      Batch other = batch;
      int32_t& id = other.ids[static_cast<size_t>(changed)];
      id = id == 3 ? 4 : 3;
      Logits after = logits_of(*model, other, ctx);
      for (int64_t t = 0; t < 30; ++t) {
        auto at = static_cast<size_t>(t);
        if (t < changed) {
          EXPECT_EQ(before[at], after[at]) << changed << " to " << t;
        } else {
          EXPECT_NE(before[at], after[at]) << changed << " to " << t;
        }
      }
    }
  }
}

TEST(BlockTransformer, LayoutOfPads) {
  ModelConfig config = blocks_of(4);
  BlockLayout layout(config);
  // Slots 2 3 | 4 5 (a document ends) | 9 10 11 | 12: the second begins behind a pad.
  std::vector<int32_t> ids{10, 11, 12, 13, 20, 21, 22, 23}, positions{-1, 0, 1, 2, 6, 7, 8, 9};
  TokenRange all{0, 8};
  layout.build(ids, positions, {&all, 1});
  EXPECT_EQ(layout.blocks, 4);
  EXPECT_EQ(layout.predicted, 3);
  std::vector<int32_t> slots(layout.slots.begin(), layout.slots.begin() + 16);
  EXPECT_EQ(slots, (std::vector<int32_t>{2, 2, 10, 11, 12, 13, 2, 2, 2, 20, 21, 22, 23, 2, 2, 2}));
  EXPECT_EQ(layout.filled[1], (TokenRange{0, 2}));
  EXPECT_EQ(layout.filled[2], (TokenRange{1, 4}));
  // Block 1: prefix 0 1, token 12; block 2: prefix 3 4, a pad, tokens 20 21; block 3: prefix 8 9, token 23.
  EXPECT_EQ(layout.predictors, (std::vector<int32_t>{-1, 1, 2, 5, 6, 7, 9, 10}));
  std::vector<int32_t> row_positions(layout.rows.positions.begin(), layout.rows.positions.begin() + 11);
  EXPECT_EQ(row_positions, (std::vector<int32_t>{0, 1, 2, 0, 1, 2, 3, 4, 0, 1, 2}));
}

TEST(BlockTransformer, BadPositionsAndUnpredictedLabelsAreInputErrors) {
  Context ctx(1);
  ModelConfig config = blocks_of(4);
  auto model = random_model(config, Precision::float32());
  for (std::vector<int32_t> bad :
       {std::vector<int32_t>{0, 1, 1, 2, 3}, {-4, 0, 1, 2, 3}, {0, 1, 3, 4, 5}, {0, 1, 9, 10, 11}}) {
    Batch batch = random_rows(config, 1, 5);
    batch.positions = bad;
    EXPECT_THROW(logits_of(*model, batch, ctx), InputError);
  }
  config.block.first_block_pads = 0;
  auto aligned = random_model(config, Precision::float32());
  EXPECT_THROW(logits_of(*aligned, random_rows(config, 1, 12), ctx), InputError);
  // And a prompt has to fill the first block.
  Writer writer(ctx, *aligned);
  std::unique_ptr<State> state = writer.state();
  std::vector<int32_t> ids{5, 6, 7, 8};
  EXPECT_THROW(writer.write(*state, {ids.data(), 1}), InputError);
  EXPECT_EQ(state->length(), 0);
  writer.read(*state, {ids.data(), 3});
  EXPECT_EQ(writer.write(*state, {ids.data() + 3, 1}).size(), 1u);
}

TEST(BlockTransformer, SizesThatDoNotFitAreInputErrors) {
  struct Bad {
    const char* field;
    void (*change)(ModelConfig&);
  };
  for (const Bad& bad : {Bad{"block.length", [](ModelConfig& c) { c.block.length = 0; }},
                         {"block.length", [](ModelConfig& c) { c.block.length = 33; }},
                         {"block.embedder_dim", [](ModelConfig& c) { c.block.embedder_dim = 9; }},
                         {"block.embedder_dim", [](ModelConfig& c) { c.block.length = 5; }},
                         {"block.embedder_heads",
                          [](ModelConfig& c) {
                            c.block.embedder = BlockEmbedder::cls;
                            c.block.embedder_heads = 3;
                          }},
                         {"block.token_heads", [](ModelConfig& c) { c.block.token_heads = 5; }},
                         {"block.rotary_fraction", [](ModelConfig& c) { c.block.rotary_fraction = 1.5; }},
                         {"block.first_block_pads", [](ModelConfig& c) { c.block.first_block_pads = 4; }},
                         {"block.pad_id", [](ModelConfig& c) { c.block.pad_id = 29; }},
                         {"block.cls_tokens", [](ModelConfig& c) { c.block.cls_tokens = 0; }},
                         {"n_kv_heads", [](ModelConfig& c) { c.n_kv_heads = 2; }},
                         {"block.expansion", [](ModelConfig& c) {
                            c.block.token_decoder = TokenDecoder::summation;
                            c.block.expansion = 2;
                          }}}) {
    ModelConfig config = blocks_of(4);
    config.validate("good");
    bad.change(config);
    std::string message = message_of<InputError>([&] { config.validate("bad.toml"); });
    EXPECT_NE(message.find(fmt::format("'{}'", bad.field)), std::string::npos) << message;
  }
}

}  // namespace
}  // namespace tandem::test
