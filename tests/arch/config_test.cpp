#include "arch/config.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/json.h"
#include "base/temporary_folder.h"

namespace tandem::test {
namespace {

using Change = void (*)(ModelConfig&);

struct BadConfig {
  const char* field;
  Change change;
};

class BadSizes : public testing::TestWithParam<BadConfig> {};

TEST_P(BadSizes, AreInputErrorsThatNameTheField) {
  ModelConfig c;
  c.validate("good");
  GetParam().change(c);
  std::string message = message_of<InputError>([&] { c.validate("bad.toml"); });
  EXPECT_NE(message.find(fmt::format("'{}'", GetParam().field)), std::string::npos) << message;
  EXPECT_NE(message.find("bad.toml"), std::string::npos) << message;
}

constexpr int64_t kHuge = std::numeric_limits<int64_t>::max();

INSTANTIATE_TEST_SUITE_P(
    Config, BadSizes,
    testing::Values(
        BadConfig{"vocab_size", [](ModelConfig& c) { c.vocab_size = 0; }},
        BadConfig{"vocab_size", [](ModelConfig& c) { c.vocab_size = kHuge; }},
        BadConfig{"dim", [](ModelConfig& c) { c.dim = 0; }}, BadConfig{"dim", [](ModelConfig& c) { c.dim = -64; }},
        BadConfig{"dim", [](ModelConfig& c) { c.dim = kHuge; }},
        BadConfig{"dim", [](ModelConfig& c) { c.n_heads = 3; }},
        BadConfig{"n_heads", [](ModelConfig& c) { c.n_heads = 0; }},
        BadConfig{"n_heads", [](ModelConfig& c) { c.n_heads = kHuge; }},
        BadConfig{"n_kv_heads", [](ModelConfig& c) { c.n_heads = 4, c.n_kv_heads = 3; }},
        BadConfig{"n_kv_heads", [](ModelConfig& c) { c.n_kv_heads = -1; }},
        BadConfig{"n_kv_heads", [](ModelConfig& c) { c.n_kv_heads = 8; }},
        BadConfig{"head_dim", [](ModelConfig& c) { c.head_dim = 7; }},
        BadConfig{"head_dim", [](ModelConfig& c) { c.head_dim = 258; }},
        BadConfig{"head_dim", [](ModelConfig& c) { c.head_dim = -2; }},
        BadConfig{"mlp_dim", [](ModelConfig& c) { c.mlp_dim = -1; }},
        BadConfig{"max_seq_len", [](ModelConfig& c) { c.max_seq_len = 0; }},
        BadConfig{"n_encoder_layers", [](ModelConfig& c) { c.n_encoder_layers = 0; }},
        BadConfig{"n_encoder_layers", [](ModelConfig& c) { c.n_encoder_layers = kHuge; }},
        BadConfig{"n_decoder_layers", [](ModelConfig& c) { c.n_decoder_layers = 0; }},
        BadConfig{"n_decoder_layers", [](ModelConfig& c) { c.n_decoder_layers = -4; }},
        BadConfig{"n_decoder_layers",
                  [](ModelConfig& c) { c.arch = Arch::decoder, c.n_encoder_layers = c.n_decoder_layers = 0; }},
        BadConfig{"max_blocks", [](ModelConfig& c) { c.max_blocks = 2; }},
        BadConfig{"max_blocks", [](ModelConfig& c) { c.max_blocks = kHuge; }},
        BadConfig{"mup_base_dim", [](ModelConfig& c) { c.mup_base_dim = -1; }},
        BadConfig{"mup_base_head_dim", [](ModelConfig& c) { c.mup_base_head_dim = -1; }},
        BadConfig{"rope_base", [](ModelConfig& c) { c.rope_base = 1; }},
        BadConfig{"rope_base", [](ModelConfig& c) { c.rope_base = std::nan(""); }},
        BadConfig{"norm_eps", [](ModelConfig& c) { c.norm_eps = -1e-6; }},
        BadConfig{"output_norm_eps", [](ModelConfig& c) { c.output_norm_eps = std::nan(""); }},
        BadConfig{"output_norm",
                  [](ModelConfig& c) {
                    c.arch = Arch::block_transformer;
                    c.output_norm = OutputNorm::rmsnorm;
                  }},
        BadConfig{"biases", [](ModelConfig& c) { c.biases = true; }},
        BadConfig{"cross_rope", [](ModelConfig& c) { c.cross_rope = false; }},
        BadConfig{"rope_ntk_factor", [](ModelConfig& c) { c.rope_ntk_factor = 2; }},
        BadConfig{"rope_ntk_factor",
                  [](ModelConfig& c) {
                    c.arch = Arch::encoder_decoder;  // whose cross-attention turns
                    c.rope_ntk_factor = 2;
                  }},
        BadConfig{"rope_ntk_factor",
                  [](ModelConfig& c) {
                    c.arch = Arch::encoder_decoder;
                    c.cross_rope = false;
                    c.rope_ntk_factor = 2;
                    c.head_dim = 2;
                  }},
        BadConfig{"decoder_positions",
                  [](ModelConfig& c) {
                    c.arch = Arch::encoder_decoder;
                    c.cross_rope = false;
                    c.rope_ntk_factor = 2;
                    c.decoder_positions = DecoderPositions::after_prompt;
                  }},
        BadConfig{"rope_ntk_factor", [](ModelConfig& c) { c.rope_ntk_factor = 0.5; }},
        BadConfig{"qkv_biases", [](ModelConfig& c) { c.qkv_biases = true; }},
        BadConfig{"tied_output", [](ModelConfig& c) { c.tied_output = false; }},
        BadConfig{"rope_scaling.kind",
                  [](ModelConfig& c) { c.rope_scaling.kind = kernels::RopeScaling::Kind::linear; }},
        BadConfig{"rope_scaling.factor", [](ModelConfig& c) { c.rope_scaling.factor = 0; }},
        BadConfig{"rope_scaling.factor", [](ModelConfig& c) { c.rope_scaling.factor = std::nan(""); }},
        BadConfig{"rope_scaling.low_turns", [](ModelConfig& c) { c.rope_scaling.low_turns = -1; }},
        BadConfig{"rope_scaling.high_turns", [](ModelConfig& c) { c.rope_scaling.high_turns = 1; }},
        BadConfig{"rope_scaling.original_length", [](ModelConfig& c) { c.rope_scaling.original_length = 0; }},
        BadConfig{"rope_ntk_length", [](ModelConfig& c) { c.rope_ntk_length = -1; }}));

TEST(Config, TheNtkBaseGrowsBeyondItsLength) {
  ModelConfig c;
  c.arch = Arch::encoder_decoder;
  c.cross_rope = false;
  c.head_dim = 8;
  c.rope_base = 100;
  c.rope_ntk_length = 10;
  EXPECT_EQ(c.rope_base_at(1000), 100);
  c.rope_ntk_factor = 2;
  c.validate("test");
  EXPECT_EQ(c.rope_base_at(1), 100);
  EXPECT_EQ(c.rope_base_at(10), 100);
  // (2 * 15 / 10 - 1) ** (8 / 6)
  EXPECT_NEAR(c.rope_base_at(15), 100 * std::pow(2.0, 4.0 / 3), 1e-9);
  c.rope_ntk_length = 0;
  c.max_seq_len = 15;
  EXPECT_EQ(c.rope_base_at(15), 100);
}

TEST(Config, ZeroMeansTheUsualSize) {
  ModelConfig c;
  c.dim = 96;
  c.n_heads = 3;
  EXPECT_EQ(c.kv_heads(), 3);
  EXPECT_EQ(c.head_size(), 32);
  EXPECT_EQ(c.mlp_size(), 384);
  EXPECT_EQ(c.layers(), 12);
  c.n_kv_heads = 1;
  c.head_dim = 20;
  c.mlp_dim = 7;
  EXPECT_EQ(c.kv_heads(), 1);
  EXPECT_EQ(c.head_size(), 20);
  EXPECT_EQ(c.mlp_size(), 7);
  c.validate("test");
}

TEST(Config, DecoderOnlyNeedsNoEncoderLayers) {
  ModelConfig c;
  c.arch = Arch::decoder;
  c.n_encoder_layers = 0;
  c.validate("test");
}

TEST(Config, MupScales) {
  ModelConfig c;
  c.dim = 256;
  c.n_heads = 4;
  EXPECT_EQ(c.attention_scale(), 1.0 / 8);
  EXPECT_EQ(c.logit_multiplier(), 1);
  EXPECT_EQ(c.matrix_rate_factor(), 1);
  c.mup_base_dim = 64;
  c.mup_base_head_dim = 16;
  EXPECT_EQ(c.attention_scale(), 4.0 / 64);
  EXPECT_EQ(c.logit_multiplier(), 0.5);
  EXPECT_EQ(c.matrix_rate_factor(), 0.25);
  c.arch = Arch::decoder;
  EXPECT_EQ(c.logit_multiplier(), 0.5);
  c.tied_output = false;
  EXPECT_EQ(c.logit_multiplier(), 0.25) << "an output matrix of its own";
}

// Every field survives the way to JSON and back, and every one can be changed.
TEST(Config, FieldsRoundTrip) {
  ModelConfig c;
  c.arch = Arch::decoder;
  c.vocab_size = 101;
  c.dim = 48;
  c.n_heads = 6;
  c.n_kv_heads = 2;
  c.head_dim = 10;
  c.n_encoder_layers = 3;
  c.n_decoder_layers = 2;
  c.mlp_dim = 77;
  c.max_seq_len = 99;
  c.rope_base = 5000.5;
  c.rope_pairs = kernels::RopePairs::half_split;
  c.activation = kernels::GeluKind::erf;
  c.norm_eps = 1e-6;
  c.output_norm = OutputNorm::rmsnorm;
  c.output_norm_eps = 1.25e-6;
  c.biases = true;
  c.cross_rope = false;
  c.rope_ntk_factor = 1.5;
  c.rope_ntk_length = 40;
  c.mlp = MlpKind::swiglu;
  c.qkv_biases = true;
  c.tied_output = false;
  c.rope_scaling = {kernels::RopeScaling::Kind::llama3, 8, 2, 6, 4096};
  c.memory_kv = MemoryKv::per_layer;
  c.logit_biases = true;
  c.self_decoder = SelfDecoder::sliding_window;
  c.n_self_heads = 2;
  c.window = 33;
  c.decay_divisor = 8;
  c.boundaries = {BoundaryKind::fixed, 12};
  c.max_blocks = 5;
  c.prompt_lengths = {"7", "9:4"};
  c.decoder_positions = DecoderPositions::after_prompt;
  c.noise_density = 0.25;
  c.mean_span_length = 3;
  c.sentinel_start = 90;
  c.n_sentinels = 11;
  c.bos_id = 1;
  c.eos_id = 2;
  c.block.length = 8;
  c.block.embedder = BlockEmbedder::cls;
  c.block.embedder_dim = 24;
  c.block.embedder_layers = 1;
  c.block.embedder_heads = 2;
  c.block.embedder_mlp_dim = 40;
  c.block.cls_tokens = 2;
  c.block.embedder_pad_id = 3;
  c.block.embedder_positions = 20;
  c.block.token_decoder = TokenDecoder::summation;
  c.block.expansion = 8;
  c.block.token_dim = 32;
  c.block.token_heads = 4;
  c.block.token_mlp_dim = 50;
  c.block.rotary_fraction = 0.5;
  c.block.random_first_block = false;
  c.block.pad_to_block_end = false;
  c.block.first_block_pads = 2;
  c.block.pad_id = 5;
  c.block.token_bos_id = 6;
  c.block.positions = TokenPositions::as_published;
  c.mup_base_dim = 16;
  c.mup_base_head_dim = 8;
  FieldList fields, other_fields, default_fields;
  list_fields(fields, c);
  OrderedJson json = fields.to_json();
  ModelConfig other, defaults;
  list_fields(other_fields, other);
  list_fields(default_fields, defaults);
  OrderedJson before = default_fields.to_json();
  for (const auto& [key, value] : json.items()) {
    EXPECT_NE(value, before[key]) << key << " is not covered by this test";
    if (!value.is_object()) continue;
    for (const auto& [inner, member] : value.items()) {
      EXPECT_NE(member, before[key][inner]) << key << "." << inner << " is not covered by this test";
    }
  }
  other_fields.apply(Json::parse(json.dump()), "test");
  EXPECT_EQ(other_fields.to_json(), json);
  EXPECT_EQ(other.norm_eps, c.norm_eps);
  EXPECT_EQ(other.memory_kv, c.memory_kv);
}

}  // namespace
}  // namespace tandem::test
