// Sizes and costs, by the papers' numbers and by formulas written out here.
#include <gtest/gtest.h>

#include "arch/model_check.h"

namespace tandem::test {
namespace {

ModelConfig published(Arch arch, int64_t dim) {
  ModelConfig c;
  c.arch = arch;
  c.dim = dim;
  c.n_heads = dim / 64;
  return c;
}

struct Size {
  int64_t dim, parameters, non_embedding;
};

// The authors' five sizes: vocabulary 32,768, 8 + 4 layers, as their archive lists them.
constexpr Size kDoubleDecoders[] = {{64, 2688768, 591616},
                                    {128, 6557184, 2362880},
                                    {192, 11605248, 5313792},
                                    {320, 25240320, 14754560},
                                    {448, 43593984, 28913920}};
constexpr Size kDecoders[] = {{64, 2688640, 591488}, {128, 6556928, 2362624}};

void check_size(Arch arch, const Size& size) {
  auto model = make_model(published(arch, size.dim), Precision::float32(), ParameterStore::Gradients::none, "test");
  EXPECT_EQ(model->parameters().elements(), size.parameters) << size.dim;
  EXPECT_EQ(model->non_embedding_parameters(), size.non_embedding) << size.dim;
}

TEST(Costs, ParametersOfThePublishedSizes) {
  for (const Size& size : kDoubleDecoders) check_size(Arch::double_decoder, size);
  for (const Size& size : kDecoders) check_size(Arch::decoder, size);
}

TEST(Costs, TrainingFlopsOfEightAndFourLayers) {
  for (const Size& size : kDoubleDecoders) {
    auto model = make_model(published(Arch::double_decoder, size.dim), Precision::float32(),
                            ParameterStore::Gradients::none, "test");
    double d = static_cast<double>(size.dim), v = 32768, l = 2048;
    EXPECT_EQ(model->costs().flops_per_training_token, 3 * (304 * d * d + 2 * v * d + 24 * l * d)) << size.dim;
  }
}

TEST(Costs, GeneratedTokenRunsTheDecoderOnly) {
  double d = 192, v = 32768, l = 2048;
  auto costs = [](Arch arch) {
    return make_model(published(arch, 192), Precision::float32(), ParameterStore::Gradients::none, "test")->costs();
  };
  // Per layer: projections of one token 24 d^2, and 4 d per key.
  EXPECT_EQ(costs(Arch::double_decoder).flops_per_generated_token, 4 * (24 * d * d + 4 * d * l) + 2 * v * d);
  EXPECT_EQ(costs(Arch::decoder).flops_per_generated_token, 12 * (24 * d * d + 4 * d * l) + 2 * v * d);
  EXPECT_EQ(costs(Arch::decoder).flops_per_training_token, 3 * (12 * (24 * d * d + 2 * d * l) + 2 * v * d));
}

TEST(Costs, CacheIsOneThirdOfTheTwins) {
  for (const Precision& precision : {Precision::float32(), Precision::bfloat16()}) {
    double width = precision == Precision::float32() ? 4 : 2, d = 320;
    auto costs = [&](Arch arch) {
      return make_model(published(arch, 320), precision, ParameterStore::Gradients::none, "test")->costs();
    };
    Costs ours = costs(Arch::double_decoder), twin = costs(Arch::decoder);
    EXPECT_EQ(ours.cache_bytes_per_token, 8 * d * width);
    EXPECT_EQ(twin.cache_bytes_per_token, 24 * d * width);
    EXPECT_EQ(3 * ours.cache_bytes_per_token, twin.cache_bytes_per_token);
    // Kept ready to read more of the prompt, nothing is saved; at rest one vector is enough.
    EXPECT_EQ(ours.cache_bytes_with_encoder, twin.cache_bytes_per_token);
    EXPECT_EQ(24 * ours.cache_bytes_at_rest, twin.cache_bytes_per_token);
    EXPECT_EQ(twin.cache_bytes_with_encoder, twin.cache_bytes_per_token);
    EXPECT_EQ(twin.cache_bytes_at_rest, twin.cache_bytes_per_token);
  }
}

// Per row token 0.8875 are read and 0.1875 written at the default density and stretch.
TEST(Costs, EncoderDecoder) {
  double d = 192, v = 32768, l = 2048, read = 0.8875, written = 0.1875;
  Costs costs =
      make_model(published(Arch::encoder_decoder, 192), Precision::float32(), ParameterStore::Gradients::none, "test")
          ->costs();
  double encoder = read * 8 * (24 * d * d + 4 * read * l * d), projections = read * 4 * 4 * d * d;
  double decoder = written * 4 * (28 * d * d + 2 * written * l * d + 4 * read * l * d), head = written * 2 * v * d;
  EXPECT_NEAR(costs.flops_per_training_token, 3 * (encoder + projections + decoder + head), 1);
  EXPECT_EQ(costs.flops_per_generated_token, 4 * (28 * d * d + 4 * d * l) + 2 * v * d);
  EXPECT_EQ(costs.cache_bytes_per_token, 8 * d * 4);
  EXPECT_EQ(costs.cache_bytes_with_encoder, costs.cache_bytes_per_token);
  EXPECT_EQ(costs.cache_bytes_at_rest, d * 4);
  auto model =
      make_model(published(Arch::encoder_decoder, 192), Precision::float32(), ParameterStore::Gradients::none, "test");
  // 12 d^2 per encoder layer, 16 per decoder layer; norms: two or three vectors a layer, four outside.
  EXPECT_EQ(model->non_embedding_parameters(), (8 * 12 + 4 * 16) * 192 * 192 + (8 * 2 + 4 * 3 + 4) * 192);
}

// Mu at its published sizes: its checkpoint of 664,270,379 bytes holds two for each parameter, and 186 kB besides.
TEST(Costs, Mu) {
  ModelConfig c = small_config(Arch::encoder_decoder);
  make_mu(c);
  c.vocab_size = 32128;
  c.dim = 1024;
  c.head_dim = 64;
  c.mlp_dim = 4096;
  c.n_encoder_layers = 20;
  c.n_decoder_layers = 10;
  c.max_seq_len = 1024;
  auto model = make_model(c, Precision::bfloat16(), ParameterStore::Gradients::none, "test");
  EXPECT_EQ(model->parameters().elements(), 332042240);
  Costs costs = model->costs();
  double d = 1024, q = 384, kv = 192, m = 4096, l = 1024, v = 32128;
  EXPECT_EQ(costs.flops_per_prompt_token, 20 * (4 * d * q + 4 * d * kv + 4 * d * m + 4 * q * l) + 10 * 4 * d * kv);
  EXPECT_EQ(costs.flops_per_generated_token, 10 * (8 * d * q + 4 * d * kv + 4 * d * m + 4 * q * l) + 2 * v * d);
  EXPECT_EQ(costs.cache_bytes_per_token, 10 * 2 * kv * 2);
  EXPECT_EQ(costs.cache_bytes_at_rest, d * 2);
}

TEST(Costs, GroupedQueriesAndOtherHeadSizes) {
  ModelConfig c = small_config(Arch::double_decoder);  // 2 + 2 layers, width 32, mlp 128
  c.n_kv_heads = 2;
  c.head_dim = 12;
  Costs costs = make_model(c, Precision::float32(), ParameterStore::Gradients::none, "test")->costs();
  double q = 4 * 12, kv = 2 * 12, d = 32;
  double kv_projection = 2 * d * 2 * kv, layer = 2 * d * q + kv_projection + 2 * q * d + 4 * d * 128;
  double head = 2 * 29 * d, attention = 4 * q;
  EXPECT_EQ(costs.flops_per_training_token, 3 * (4 * (layer + attention * 12) + 2 * kv_projection + head));
  EXPECT_EQ(costs.flops_per_generated_token, 2 * (layer + attention * 24) + head);
  EXPECT_EQ(costs.cache_bytes_per_token, 2 * 2 * kv * 4);
}

// Heads of d / H: queries and output 4 d^2, keys and values 4 d^2 Hkv / H, three matrices of an MLP 6 d m.
TEST(Costs, LlamaFamily) {
  ModelConfig c = published(Arch::decoder, 256);
  c.n_kv_heads = 2;
  c.mlp = MlpKind::swiglu;
  c.mlp_dim = 704;
  c.output_norm = OutputNorm::rmsnorm;
  c.tied_output = false;
  auto model = make_model(c, Precision::float32(), ParameterStore::Gradients::none, "test");
  double d = 256, m = 704, v = 32768, l = 2048;
  double layer = 4 * d * d * 1.5 + 6 * d * m;
  EXPECT_EQ(model->costs().flops_per_generated_token, 12 * (layer + 4 * d * l) + 2 * v * d);
  EXPECT_EQ(model->costs().flops_per_training_token, 3 * (12 * (layer + 2 * d * l) + 2 * v * d));
  EXPECT_EQ(model->costs().cache_bytes_per_token, 12 * 2 * 2 * 64 * 4);
  EXPECT_EQ(model->non_embedding_parameters(), static_cast<int64_t>(12 * (layer / 2 + 2 * d) + d));
  EXPECT_EQ(model->parameters().elements(), model->non_embedding_parameters() + static_cast<int64_t>(2 * v * d));
  // The published width's twin has the parameters of the double decoder's 28.9M.
  ModelConfig twin = published(Arch::decoder, 448);
  twin.mlp = MlpKind::swiglu;
  twin.mlp_dim = 1192;
  twin.output_norm = OutputNorm::rmsnorm;
  auto small = make_model(twin, Precision::float32(), ParameterStore::Gradients::none, "test");
  EXPECT_NEAR(static_cast<double>(small->non_embedding_parameters()), 28913920, 0.005 * 28913920);
}

TEST(Costs, SeparateProjectionsCostParametersButNoCache) {
  ModelConfig shared = small_config(Arch::double_decoder), separate = shared;
  separate.memory_kv = MemoryKv::per_layer;
  auto a = make_model(shared, Precision::float32(), ParameterStore::Gradients::none, "test");
  auto b = make_model(separate, Precision::float32(), ParameterStore::Gradients::none, "test");
  EXPECT_EQ(b->parameters().elements() - a->parameters().elements(), 2 * 2 * 32 * 32);
  EXPECT_EQ(a->costs().cache_bytes_per_token, b->costs().cache_bytes_per_token);
  EXPECT_EQ(a->costs().flops_per_training_token, b->costs().flops_per_training_token);
}

TEST(Costs, OneProjectionForAllLayersCachesOneLayer) {
  ModelConfig shared = small_config(Arch::double_decoder), one = shared;
  one.memory_kv = MemoryKv::one_for_all;
  auto a = make_model(shared, Precision::float32(), ParameterStore::Gradients::none, "test");
  auto b = make_model(one, Precision::float32(), ParameterStore::Gradients::none, "test");
  EXPECT_EQ(b->parameters().elements() - a->parameters().elements(), 2 * 32 * 32);
  EXPECT_EQ(b->costs().cache_bytes_per_token * 2, a->costs().cache_bytes_per_token);  // of two decoder layers
  EXPECT_EQ(a->costs().flops_per_training_token - b->costs().flops_per_training_token, 3 * 2 * 32 * 2 * 32);
  std::unique_ptr<State> state = b->new_state(8);
  Context ctx(1);
  Tape tape(ctx, Precision::float32(), Tape::Mode::no_grad);
  std::vector<int32_t> ids{1, 2, 3, 4, 5};
  b->prefill(tape, *state, ids);
  EXPECT_EQ(static_cast<double>(state->bytes()), 5 * b->costs().cache_bytes_per_token);
}

}  // namespace
}  // namespace tandem::test
