#include "eval/golden_blocks.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/file.h"
#include "base/temporary_folder.h"
#include "eval/golden_copy.h"

namespace tandem::test {
namespace {

const ParityCheck& find(const ParityReport& report, const std::string& tensor_class) {
  for (const ParityCheck& c : report.checks) {
    if (c.tensor_class == tensor_class) return c;
  }
  throw std::runtime_error("no check of " + tensor_class);
}

class Blocks : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (!have_golden(GetParam())) GTEST_SKIP() << GetParam() << " is not there";
  }
  static ParityReport check(const GoldenCase& c, const Precision& precision, bool judge = true) {
    Context ctx(2);
    return check_forward(ctx, c, precision, judge);
  }
};

TEST_P(Blocks, Float32IsWithinTheCasesTolerance) {
  GoldenCase c = read_golden_case(golden_folder(GetParam()));
  EXPECT_EQ(c.config.arch, Arch::block_transformer);
  ParityReport report = check(c, Precision::float32());
  for (const ParityCheck& each : report.checks) {
    EXPECT_TRUE(each.ok) << each.tensor_class << " of " << each.tensor << " is off by " << each.worst;
  }
  EXPECT_LE(find(report, "activation").worst, 1e-4);
  EXPECT_LE(find(report, "loss_per_token").worst, 1e-4);
  EXPECT_GT(find(report, "gradient").compared, 20);
  if (!std::filesystem::exists(c.folder / "gen.safetensors")) return;
  // Two prompts: as trained, as published, and up to EOS.
  EXPECT_EQ(find(report, "generated_ids").compared, 6);
  EXPECT_EQ(find(report, "gen_logits").compared, 4);
  EXPECT_LE(find(report, "block_states").worst, 1e-4);
}

// The recorded numbers are float32, off by 3e-6 at most from float64 in the logits.
TEST_P(Blocks, ReferenceIsAsCloseAsTheRecordedNumbersAreToFloat64) {
  ParityReport report = check(read_golden_case(golden_folder(GetParam())), Precision::reference());
  EXPECT_TRUE(report.ok());
  EXPECT_LE(find(report, "logits").worst, 1e-5);
  EXPECT_LE(find(report, "loss").worst, 1e-6);
  EXPECT_LE(find(report, "gradient").worst, 1e-5);
}

TEST_P(Blocks, WrongConventionsAreNoticed) {
  struct Mistake {
    const char* name;
    void (*make)(ModelConfig&);
  };
  for (const Mistake& mistake : {Mistake{"tanh", [](ModelConfig& c) { c.activation = kernels::GeluKind::tanh; }},
                                 {"eps", [](ModelConfig& c) { c.output_norm_eps = 1e-3; }},
                                 {"pairs", [](ModelConfig& c) { c.rope_pairs = kernels::RopePairs::adjacent; }},
                                 {"base", [](ModelConfig& c) { c.rope_base = 5000; }},
                                 {"turned features", [](ModelConfig& c) { c.block.rotary_fraction = 0.5; }},
                                 {"pad", [](ModelConfig& c) { c.block.pad_id = 7; }}}) {
    GoldenCase c = read_golden_case(golden_folder(GetParam()));
    mistake.make(c.config);
    EXPECT_FALSE(find(check(c, Precision::float32()), "logits").ok) << mistake.name;
  }
}

TEST_P(Blocks, Bfloat16IsNear) {
  if (!has_bf16_products(choose_isa())) GTEST_SKIP() << "no bfloat16 products on this instruction set";
  GoldenCase c = read_golden_case(golden_folder(GetParam()));
  double fast = find(check(c, Precision::bfloat16(), false), "logits").worst;
  double reference = find(check(c, Precision::reference_bf16(), false), "logits").worst;
  EXPECT_GT(reference, c.tolerance.logits_abs);
  EXPECT_LE(fast, 2 * reference);
  EXPECT_LE(reference, 2 * fast);
}

INSTANTIATE_TEST_SUITE_P(Golden, Blocks,
                         testing::Values("block_transformer", "block_transformer_megabyte",
                                         "block_transformer_roberta_prefix", "block_transformer_cls_sum",
                                         "block_transformer_cls_cross"),
                         [](const auto& test) { return std::string(test.param); });

// The published positions differ from those of training where a prefix has more than one vector.
TEST(BlocksGeneration, PublishedPositionsAreNotThoseOfTraining) {
  if (!have_golden("block_transformer")) GTEST_SKIP() << "block_transformer is not there";
  GoldenCase c = read_golden_case(golden_folder("block_transformer"));
  EXPECT_EQ(block_sizes(c.config).leading, 2);
  SafetensorsFile gen = SafetensorsFile::open(c.folder / "gen.safetensors");
  EXPECT_GT(worst_difference(gen.tensor("authors.step_logits"), gen.tensor("trainpos.step_logits")), 0.1);
}

// The smallest case for a test to spoil.
struct Copy : GoldenCopy {
  Copy() : GoldenCopy("block_transformer_megabyte") {}
};

TEST(BadBlocks, UnknownConventionsAreNamed) {
  struct Change {
    const char* part;
    const char* key;
    Json value;
  };
  for (const Change& change : {Change{"block_decoder", "hidden_act", "relu"},
                               {"block_decoder", "use_parallel_residual", false},
                               {"block_decoder", "rotary_ndims", 6},
                               {"block_decoder", "attention_bias", false},
                               {"token_decoder", "decoding_strategy", "guess"},
                               {"token_decoder", "expansion_method", "none"},
                               {"token_decoder", "cls", "gpt2"},
                               {"embedder", "cls", "mean"},
                               {"embedder", "projection_method", "sum"},
                               {"embedder", "n_embedding_tokens", 2}}) {
    Copy copy;
    Json json = read_json(copy.path() / "config.json");
    json[change.part][change.key] = change.value;
    write_file_atomically(copy.path() / "config.json", json.dump());
    EXPECT_NE(copy.complaint().find(change.key), std::string::npos) << copy.complaint();
  }
}

TEST(BadBlocks, TensorsMissingSuperfluousOrOfAnotherShape) {
  Storage other(DType::f32, {3, 5}), flat(DType::i64, {96});
  for (const char* name : {"token_decoder.embed_out.weight", "token_decoder.expansion_layer.weight",
                           "block_decoder.gpt_neox.layers.0.attention.query_key_value.weight"}) {
    Copy missing, shaped;
    missing.rewrite("weights.safetensors", [&](auto& entries) {
      std::erase_if(entries, [&](const SafetensorsEntry& e) { return e.name == name; });
    });
    EXPECT_NE(missing.complaint().find(name), std::string::npos) << missing.complaint();
    shaped.rewrite("weights.safetensors", [&](auto& entries) {
      for (auto& e : entries) e.tensor = e.name == name ? other.tensor() : e.tensor;
    });
    EXPECT_NE(shaped.complaint().find("[3, 5]"), std::string::npos) << shaped.complaint();
  }
  Copy superfluous;
  superfluous.rewrite("weights.safetensors", [&](auto& e) { e.push_back({"layers.99.weight", other.tensor()}); });
  EXPECT_NE(superfluous.complaint().find("layers.99.weight"), std::string::npos);
  for (auto [file, name] : {std::pair{"io.safetensors", "input_ids"},
                            {"io.safetensors", "attention_mask"},
                            {"io.safetensors", "logits"},
                            {"gen.safetensors", "trainpos.output_ids"},
                            {"gen.safetensors", "authors.step_logits"},
                            {"gen.safetensors", "input_ids"}}) {
    Copy copy;
    copy.rewrite(file, [&, wanted = std::string(name)](auto& entries) {
      for (auto& e : entries) e.tensor = e.name == wanted ? flat.tensor() : e.tensor;
    });
    EXPECT_NE(copy.complaint(), "") << name;
  }
}

}  // namespace
}  // namespace tandem::test
