// Models of the Llama family to GGUF files and back.
#include "formats/gguf.h"

#include <gtest/gtest.h>

#include <cmath>

#include "arch/model_check.h"
#include "arch/model_folder.h"
#include "arch/stop_ids.h"
#include "base/error.h"
#include "base/file.h"
#include "base/temporary_folder.h"
#include "convert/convert.h"
#include "convert/llama_check.h"
#include "formats/safetensors.h"
#include "text/tokenizer.h"

namespace tandem::test {
namespace {

namespace fs = std::filesystem;

void go(const fs::path& from, const fs::path& to, const std::function<void(ConvertOptions&)>& change = {}) {
  ConvertOptions options{.source = from, .destination = to};
  if (change) change(options);
  convert(options, [](double, std::string_view) {});
}

ModelConfig llama_config() { return test::llama_config(2, 64); }

TEST(GgufRoundTrip, IsBitExact) {
  for (const auto& [name, config] : llama_variants(2, 64)) {
    SCOPED_TRACE(name);
    TemporaryFolder folder;
    auto model = random_model(config, Precision::float32());
    save_model(folder / "ours", *model, "");
    go(folder / "ours", folder / "theirs.gguf");
    go(folder / "theirs.gguf", folder / "back");
    EXPECT_EQ(read_file(folder / "ours/model.safetensors"), read_file(folder / "back/model.safetensors"));
    expect_same_logits(*model, folder / "back");
  }
}

// Of architecture "llama" features 2i and 2i + 1 of a query or key head turn together; of "qwen2" i and i + D/2.
TEST(GgufRows, QueriesAndKeysArePermuted) {
  for (bool biases : {false, true}) {
    TemporaryFolder folder;
    ModelConfig config = llama_config();
    config.qkv_biases = biases;
    auto model = random_model(config, Precision::float32());
    save_model(folder / "ours", *model, "");
    go(folder / "ours", folder / "theirs.gguf");
    GgufFile file = GgufFile::open(folder / "theirs.gguf");
    EXPECT_EQ(file.string("general.architecture"), biases ? "qwen2" : "llama");
    const Tensor& ours = model->parameters().find("layers.1.attention.qkv.weight")->master();
    Tensor q = file.tensor("blk.1.attn_q.weight"), k = file.tensor("blk.1.attn_k.weight");
    Tensor v = file.tensor("blk.1.attn_v.weight");
    for (int64_t column : {0, 31}) {
      auto at = [&](int64_t row) { return load_element(ours, row, column); };
      EXPECT_EQ(load_element(q, 8 + (biases ? 4 : 1), column), at(8 + 4)) << "head 1, feature 4";
      EXPECT_EQ(load_element(k, 8 + (biases ? 5 : 3), column), at(32 + 8 + 5)) << "key head 1, feature 5";
      EXPECT_EQ(load_element(v, 8 + 5, column), at(48 + 8 + 5)) << "values stay";
    }
  }
}

TEST(Gguf, SmallerTypesAreNear) {
  TemporaryFolder folder;
  ModelConfig config = llama_config();
  auto model = random_model(config, Precision::float32());
  save_model(folder / "ours", *model, "");
  // The largest error of an element over the largest element of its block.
  const std::vector<std::pair<WeightType, double>> types{{WeightType::bfloat16, 0x1p-8},
                                                         {WeightType::float16, 0x1p-10},
                                                         {WeightType::q8_0, 0.5 / 127 + 0x1p-10},
                                                         {WeightType::q4_0, 1.0 / 8 + 0x1p-8}};
  for (auto [type, bound] : types) {
    SCOPED_TRACE(weight_type_name(type));
    std::string name(weight_type_name(type));
    go(folder / "ours", folder / (name + ".gguf"), [type = type](ConvertOptions& options) { options.type = type; });
    go(folder / (name + ".gguf"), folder / name);
    SafetensorsFile back = SafetensorsFile::open(folder / name / "model.safetensors");
    for (const Parameter& p : model->parameters().all()) {
      Tensor theirs = back.tensor(p.name());
      for (int64_t r = 0; r < theirs.rows(); ++r) {
        double largest = 0, worst = 0;
        for (int64_t i = 0; i < theirs.row_size(); ++i) {
          double value = load_element(p.master(), r, i);
          largest = std::max(largest, std::abs(value));
          worst = std::max(worst, std::abs(load_element(theirs, r, i) - value));
        }
        ASSERT_LE(worst, bound * largest) << p.name();
        if (p.shape().rank() == 1) {
          ASSERT_EQ(worst, 0) << "norms stay float32";
        }
      }
    }
  }
  auto narrow = config;
  narrow.mlp_dim = 40;
  save_model(folder / "narrow", *random_model(narrow, Precision::float32()), "");
  std::string message = message_of<InputError>([&] {
    go(folder / "narrow", folder / "narrow.gguf", [](ConvertOptions& options) { options.type = WeightType::q8_0; });
  });
  EXPECT_NE(message.find("whole blocks"), std::string::npos) << message;
  EXPECT_FALSE(fs::exists(folder / "narrow.gguf"));
}

// The file's tensors with changed metadata.
void rewrite(const fs::path& from, const fs::path& to,
             const std::function<void(std::map<std::string, GgufValue, std::less<>>&)>& change) {
  GgufFile file = GgufFile::open(from);
  std::map<std::string, GgufValue, std::less<>> metadata = file.metadata();
  change(metadata);
  std::vector<GgufEntry> entries;
  for (const std::string& name : file.names()) entries.push_back({{name, file.tensor(name)}, GgufTensorType::f32});
  write_gguf(to, entries, {metadata.begin(), metadata.end()});
}

TEST(Gguf, WhatIsNotSupportedIsNamed) {
  TemporaryFolder folder;
  ModelConfig config = llama_config();
  config.rope_scaling = {kernels::RopeScaling::Kind::llama3, 4, 1, 3, 12};
  save_model(folder / "ours", *random_model(config, Precision::float32()), "");
  go(folder / "ours", folder / "theirs.gguf");
  struct Change {
    const char* expected;
    std::function<void(std::map<std::string, GgufValue, std::less<>>&)> make;
  };
  const std::vector<Change> changes{
      {"general.architecture", [](auto& m) { m["general.architecture"] = GgufValue::string("gemma"); }},
      {"expert_count", [](auto& m) { m["llama.expert_count"] = GgufValue::u32(8); }},
      {"yarn", [](auto& m) { m["llama.rope.scaling.type"] = GgufValue::string("yarn"); }},
      {"rope.dimension_count", [](auto& m) { m["llama.rope.dimension_count"] = GgufValue::u32(4); }},
      {"rope_freqs.weight", [](auto& m) { m["tandem.rope_scaling.factor"] = GgufValue::f32(3); }},
      {"llama.block_count", [](auto& m) { m.erase("llama.block_count"); }},
      {"blk.2", [](auto& m) { m["llama.block_count"] = GgufValue::u32(3); }},
      {"do not belong together", [](auto& m) { m["llama.block_count"] = GgufValue::u32(4000); }},
      {"tokenizer.ggml.model", [](auto& m) { m["tokenizer.ggml.model"] = GgufValue::string("bert"); }},
  };
  for (const Change& change : changes) {
    SCOPED_TRACE(change.expected);
    rewrite(folder / "theirs.gguf", folder / "other.gguf", change.make);
    std::string message = message_of<InputError>([&] { go(folder / "other.gguf", folder / "new"); });
    EXPECT_NE(message.find(change.expected), std::string::npos) << message;
    EXPECT_FALSE(fs::exists(folder / "new"));
  }
  save_model(folder / "plain", *random_model(small_config(Arch::decoder), Precision::float32()), "");
  std::string message = message_of<InputError>([&] { go(folder / "plain", folder / "plain.gguf"); });
  EXPECT_NE(message.find("Llama family"), std::string::npos) << message;
}

// Text becomes the same ids by the tokenizer that went through a GGUF file, and ids the same text.
TEST(GgufTokenizer, IsTheSameAfterwards) {
  struct Case {
    const char* name;
    const char* file;
    const char* model;
  };
  for (const Case& c : {Case{"gpt2", "tokenizer.json", "gpt2"},
                        {"llama3", "tokenizer.json", "gpt2"},
                        {"spm_bpe", "tokenizer.model", "llama"},
                        {"llama_spm_bpe_8k", "tokenizer.json", "llama"}}) {
    SCOPED_TRACE(c.name);
    fs::path path = fs::path(TANDEM_SOURCE_DIR) / "tests/golden/tokenizer" / c.name / c.file;
    if (!fs::exists(path)) path = fs::path(TANDEM_SOURCE_DIR) / "../shared/data/tokenizer" / c.name / c.file;
    if (!fs::exists(path)) continue;
    Tokenizer tokenizer = Tokenizer::load(path);
    TemporaryFolder folder;
    ModelConfig config = llama_config();
    config.vocab_size = tokenizer.vocab_size() + 7;
    config.bos_id = config.eos_id = -1;
    std::vector<int32_t> ends = tokenizer.encode("begin", true);
    if (tokenizer.is_special(ends.front())) config.bos_id = ends.front();
    if (tokenizer.is_special(ends.back())) config.eos_id = ends.back();
    save_model(folder / "ours", *random_model(config, Precision::float32()), tokenizer.file_bytes(),
               tokenizer.file_name());
    // The ends of a text, a message and a turn.
    const std::vector<int32_t> stops{static_cast<int32_t>(config.eos_id < 0 ? 3 : config.eos_id), 11, 9};
    write_stop_ids(folder / "ours", stops);
    go(folder / "ours", folder / "theirs.gguf");
    GgufFile file = GgufFile::open(folder / "theirs.gguf");
    EXPECT_EQ(file.string("tokenizer.ggml.model"), c.model);
    EXPECT_EQ(static_cast<int64_t>(file.strings("tokenizer.ggml.tokens").size()), config.vocab_size);
    EXPECT_EQ(file.integer("tokenizer.ggml.eot_token_id"), 9);
    go(folder / "theirs.gguf", folder / "back");
    EXPECT_EQ(read_stop_ids(folder / "back", config.vocab_size), stops);
    Tokenizer back = Tokenizer::load_from_folder(folder / "back");
    for (const char* text : {"Once upon a time, there was 1 dog and 1234 cats.", "  two  spaces\n\nand lines",
                             "I'm don't", "na\xC3\xAFve \xE6\x97\xA5\xE6\x9C\xAC \xF0\x9F\x8C\x8D", "x"}) {
      EXPECT_EQ(back.encode(text), tokenizer.encode(text)) << text;
      EXPECT_EQ(back.decode(back.encode(text)), tokenizer.decode(tokenizer.encode(text))) << text;
    }
    if (std::string_view(c.model) == "gpt2") {
      EXPECT_EQ(back.encode("begin", true), tokenizer.encode("begin", true)) << "BOS";
    }
  }
}

TEST(GgufTokenizer, OtherKindsAreRefused) {
  TemporaryFolder folder;
  for (const char* name : {"spm_unigram/tokenizer.model", "fallback/tokenizer.json", "metaspace/tokenizer.json"}) {
    SCOPED_TRACE(name);
    fs::remove_all(folder / "ours");
    Tokenizer tokenizer = Tokenizer::load(fs::path(TANDEM_SOURCE_DIR) / "tests/golden/tokenizer" / name);
    ModelConfig config = llama_config();
    config.vocab_size = tokenizer.vocab_size();
    save_model(folder / "ours", *random_model(config, Precision::float32()), tokenizer.file_bytes(),
               tokenizer.file_name());
    std::string message = message_of<InputError>([&] { go(folder / "ours", folder / "theirs.gguf"); });
    EXPECT_NE(message.find("--tokenizer none"), std::string::npos) << message;
    EXPECT_FALSE(fs::exists(folder / "theirs.gguf"));
  }
  go(folder / "ours", folder / "theirs.gguf", [](ConvertOptions& options) { options.tokenizer = "none"; });
  EXPECT_EQ(GgufFile::open(folder / "theirs.gguf").string("tokenizer.ggml.model"), "no_vocab");
}

}  // namespace
}  // namespace tandem::test
