#include "eval/golden_mu.h"

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

ParityReport check(const GoldenCase& c, const Precision& precision, bool judge = true) {
  Context ctx(2);
  return check_forward(ctx, c, precision, judge);
}

GoldenCase mu_case() { return read_golden_case(golden_folder("mu_tiny")); }

TEST(Mu, Float32IsWithinTheCasesTolerance) {
  GoldenCase c = mu_case();
  EXPECT_EQ(c.config.arch, Arch::encoder_decoder);
  EXPECT_EQ(c.config.kv_heads(), 3);
  ParityReport report = check(c, Precision::float32());
  for (const ParityCheck& each : report.checks) {
    EXPECT_TRUE(each.ok) << each.tensor_class << " of " << each.tensor << " is off by " << each.worst;
  }
  EXPECT_EQ(find(report, "logits").compared, 3);  // tiled, interleaved, NTK
  // All of the authors' parameters; both layers' biases of keys without rotation have none.
  EXPECT_EQ(find(report, "gradient").compared + find(report, "zero_gradient").compared,
            static_cast<int64_t>(SafetensorsFile::open(c.folder / "weights.safetensors").names().size()));
  EXPECT_EQ(find(report, "zero_gradient").compared, 2);
  EXPECT_LE(find(report, "activation").worst, 1e-4);
  EXPECT_EQ(find(report, "activation").compared, 7);
  EXPECT_LE(find(report, "loss_per_token").worst, 1e-4);
  EXPECT_EQ(find(report, "generated_ids").compared, 2);
  EXPECT_EQ(find(report, "step_logits").compared, 1);
  EXPECT_EQ(find(report, "draws").compared, 2);
}

// The recorded logits are float32, off by 5.6e-6 from float64 (the case's "measured"): ours by as much again at most,
// and a loss, a difference of a logit and an average of them, by twice that.
TEST(Mu, ReferenceIsAsCloseAsTheRecordedNumbersAreToFloat64) {
  ParityReport report = check(mu_case(), Precision::reference());
  EXPECT_TRUE(report.ok());
  EXPECT_LE(find(report, "logits").worst, 1.2e-5);
  EXPECT_LE(find(report, "loss").worst, 1.2e-5);
  EXPECT_LE(find(report, "gradient").worst, 1e-5);
  EXPECT_LE(find(report, "zero_gradient").worst, 1e-9);
}

TEST(Mu, Bfloat16IsNear) {
  if (!has_bf16_products(choose_isa())) GTEST_SKIP() << "no bfloat16 products on this instruction set";
  GoldenCase c = mu_case();
  double fast = find(check(c, Precision::bfloat16(), false), "logits").worst;
  double reference = find(check(c, Precision::reference_bf16(), false), "logits").worst;
  EXPECT_GT(reference, c.tolerance.logits_abs);
  EXPECT_LE(fast, 2 * reference);
  EXPECT_LE(reference, 2 * fast);
}

TEST(Mu, WrongConventionsAreNoticed) {
  struct Mistake {
    const char* name;
    void (*make)(ModelConfig&);
  };
  for (const Mistake& mistake : {Mistake{"eps", [](ModelConfig& c) { c.norm_eps = 1e-3; }},
                                 {"outer eps", [](ModelConfig& c) { c.output_norm_eps = 1e-3; }},
                                 {"gelu", [](ModelConfig& c) { c.activation = kernels::GeluKind::erf; }},
                                 {"pairs", [](ModelConfig& c) { c.rope_pairs = kernels::RopePairs::adjacent; }},
                                 {"base", [](ModelConfig& c) { c.rope_base = 5000; }},
                                 {"NTK", [](ModelConfig& c) { c.rope_ntk_factor = 2, c.rope_ntk_length = 10; }}}) {
    GoldenCase c = mu_case();
    mistake.make(c.config);
    EXPECT_FALSE(find(check(c, Precision::float32()), "logits").ok) << mistake.name;
  }
}

struct Copy : GoldenCopy {
  Copy() : GoldenCopy("mu_tiny") {}
  void set(const char* key, const Json& value) const {
    Json json = read_json(path() / "config.json");
    json[key] = value;
    write_file_atomically(path() / "config.json", json.dump());
  }
  void replace(const std::string& file, const std::string& name, const Tensor& tensor) const {
    rewrite(file, [&](std::vector<SafetensorsEntry>& entries) {
      for (SafetensorsEntry& each : entries) {
        if (each.name == name) each.tensor = tensor;
      }
    });
  }
};

// Heads in the other order are another model.
TEST(Mu, TheOrderOfHeadsIsTheCases) {
  Copy copy;
  copy.set("is_interleaved", true);
  ParityReport report = check(read_golden_case(copy.path()), Precision::float32());
  EXPECT_FALSE(find(report, "logits").ok);
  EXPECT_FALSE(find(report, "gradient").ok);
}

TEST(BadMu, UnknownConventionsAreNamed) {
  for (const auto& [key, value] : {std::pair<const char*, Json>{"hidden_act", "relu"},
                                   {"rope_style", "interleaved"},
                                   {"attention_bias", false},
                                   {"mlp_bias", false},
                                   {"lm_head_bias", true},
                                   {"tie_word_embeddings", false},
                                   {"dropout", 0.1},
                                   {"qkv_dim", 64},
                                   {"is_interleaved", "perhaps"}}) {
    Copy copy;
    copy.set(key, value);
    EXPECT_NE(copy.complaint().find(key), std::string::npos) << copy.complaint();
  }
}

TEST(BadMu, TensorsOfAnotherShape) {
  Storage other(DType::f32, {3, 5}), flat(DType::i64, {96});
  for (const char* name : {"transformer.wte.weight", "transformer.h.0.cross_attn.k_linear.bias",
                           "transformer.e.1.attn.q_linear.weight", "transformer.ln_f.weight"}) {
    Copy copy;
    copy.replace("weights.safetensors", name, other.tensor());
    EXPECT_NE(copy.complaint().find("[3, 5]"), std::string::npos) << copy.complaint();
  }
  for (auto [file, name] : {std::pair{"io.safetensors", "encoder_input_ids"},
                            {"io.safetensors", "decoder_input_ids"},
                            {"io.safetensors", "targets"},
                            {"gen.safetensors", "input_ids"},
                            {"gen.safetensors", "output_ids"}}) {
    Copy copy;
    copy.replace(file, name, flat.tensor());
    EXPECT_NE(copy.complaint(), "") << name;
  }
  for (auto [file, name] : {std::pair{"io.safetensors", "logits"},
                            {"io.safetensors", "ntk.logits"},
                            {"io.safetensors", "grad.transformer.h.1.mlp.fc2.bias"},
                            {"gen.safetensors", "step_logits"},
                            {"gen.safetensors", "sample.probs_T0.9_k8"}}) {
    Copy copy;
    copy.replace(file, name, other.tensor());
    EXPECT_NE(copy.complaint().find("[3, 5]"), std::string::npos) << name << copy.complaint();
  }
}

}  // namespace
}  // namespace tandem::test
