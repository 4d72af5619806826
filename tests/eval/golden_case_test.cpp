#include "eval/golden_case.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/temporary_folder.h"
#include "eval/golden_folders.h"
#include "eval/parity.h"

namespace tandem::test {
namespace {

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// A copy of a small case for a test to spoil.
struct Copy {
  TemporaryFolder folder;
  std::filesystem::path path = folder / "case";

  explicit Copy(const std::string& name = "bdd_logitbias") {
    std::filesystem::copy(golden_folder(name), path);
    for (const auto& file : std::filesystem::directory_iterator(path)) {
      std::filesystem::permissions(file.path(), std::filesystem::perms::owner_all);
    }
  }
  Json config() const { return read_json(path / "config.json"); }
  void write_config(const Json& json) const { write_file_atomically(path / "config.json", json.dump()); }
  std::string complaint() const {
    return message_of<InputError>([&] { read_golden_case(path); });
  }
  // Of the whole check.
  std::string check_complaint(const Precision& precision = Precision::float32()) const {
    Context ctx(1);
    return message_of<InputError>([&] {
      GoldenCase c = read_golden_case(path);
      c.kind == GoldenKind::generation ? check_generation(ctx, c, precision, true)
                                       : check_forward(ctx, c, precision, true);
    });
  }
  // Writes a file anew; `change` may replace or drop entries.
  template <class F>
  void rewrite(const std::string& file, F change) const {
    std::vector<SafetensorsEntry> entries;
    {
      SafetensorsFile old = SafetensorsFile::open(path / file);
      for (const std::string& name : old.names()) entries.push_back({name, old.tensor(name)});
      change(entries);
      write_safetensors(path / "new", entries);
    }
    std::filesystem::rename(path / "new", path / file);
  }
};

TEST(GoldenCase, SaysThatACaseIsNotSupportedYet) {
  Copy copy;
  for (const char* kind : {"mu_kd", "mu_vision"}) {
    copy.write_config(Json{{"architecture", kind}, {"tandem_arch", "encoder_decoder"}});
    EXPECT_TRUE(has(copy.complaint(), "not supported yet")) << copy.complaint();
    EXPECT_TRUE(has(copy.complaint(), kind)) << copy.complaint();
  }
}

TEST(GoldenCase, ReadsSizesConventionsAndTolerance) {
  GoldenCase c = read_golden_case(golden_folder("bdd_logitbias"));
  EXPECT_EQ(c.name, "bdd_logitbias");
  EXPECT_EQ(c.kind, GoldenKind::forward);
  EXPECT_EQ(c.config.arch, Arch::double_decoder);
  EXPECT_EQ(c.config.vocab_size, 61);
  EXPECT_EQ(c.config.dim, 32);
  EXPECT_EQ(c.config.n_encoder_layers, 1);
  EXPECT_EQ(c.config.n_decoder_layers, 2);
  EXPECT_TRUE(c.config.logit_biases);
  EXPECT_EQ(c.config.memory_kv, MemoryKv::per_layer_shared);
  EXPECT_EQ(c.tolerance.logits_abs, 3.3e-5);
  EXPECT_EQ(c.tolerance.grad_rel, 2e-5);
  EXPECT_EQ(read_golden_case(golden_folder("bdd_unshared")).config.memory_kv, MemoryKv::per_layer);
  EXPECT_EQ(read_golden_case(golden_folder("bdd_generate")).kind, GoldenKind::generation);
  EXPECT_EQ(read_golden_case(golden_folder("dec_tiny")).config.arch, Arch::decoder);
}

TEST(GoldenCase, EveryParameterHasItsNameInTheFiles) {
  for (const char* name : {"bdd_logitbias", "bdd_unshared", "dec_tiny", "yoco_swa", "yoco_gret", "mu_tiny"}) {
    GoldenCase c = read_golden_case(golden_folder(name));
    auto model = make_model(c.config, Precision::float32(), ParameterStore::Gradients::none, name);
    SafetensorsFile weights = SafetensorsFile::open(c.folder / "weights.safetensors");
    size_t used = 0;
    for (const Parameter& p : model->parameters().all()) {
      for (const std::string& each : golden_parameter_names(p, c.config)) {
        EXPECT_TRUE(weights.contains(each)) << p.name();
        ++used;
      }
    }
    EXPECT_EQ(weights.names().size(), used);
  }
}

TEST(BadGoldenCase, NoCaseAtAll) {
  TemporaryFolder folder;
  EXPECT_TRUE(has(message_of<InputError>([&] { read_golden_case(folder.path()); }), "not a golden case"));
  EXPECT_TRUE(has(message_of<InputError>([&] { read_golden_case(folder / "nothing"); }), "not a golden case"));
}

TEST(BadGoldenCase, MissingKeys) {
  for (const char* key : {"tandem_arch",      "objective",
                          "vocab_size",       "dim",
                          "n_heads",          "head_dim",
                          "n_encoder_layers", "mlp_dim",
                          "rope_base",        "rope_pairs",
                          "activation",       "block_norm",
                          "output_norm",      "encoder_output_norm",
                          "tied_embeddings",  "shared_kv",
                          "logit_biases",     "mup",
                          "attn_scale",       "logit_multiplier",
                          "tolerance"}) {
    Copy copy;
    Json json = copy.config();
    ASSERT_EQ(json.erase(key), 1u) << key;
    copy.write_config(json);
    std::string complaint = copy.complaint();
    EXPECT_TRUE(has(complaint, key) && has(complaint, "config.json")) << complaint;
  }
}

// A convention that we do not have must not pass for one that we have.
TEST(BadGoldenCase, UnknownConventions) {
  struct Change {
    const char* key;
    Json value;
    const char* names;  // what the complaint mentions
  };
  Json layernorm = {{"kind", "layernorm"}, {"eps", 1e-5}};
  for (const Change& change : {Change{"tandem_arch", "mamba", "tandem_arch"},
                               {"objective", "masked_tokens", "objective"},
                               {"activation", "relu", "activation"},
                               {"rope_pairs", "spiral", "rope_pairs"},
                               {"linear_bias", true, "linear_bias"},
                               {"tied_embeddings", false, "tied_embeddings"},
                               {"embedding_scale", 2.0, "embedding_scale"},
                               {"encoder_causal", false, "encoder_causal"},
                               {"attn_scale", 0.5, "attn_scale"},
                               {"logit_multiplier", 3.0, "logit_multiplier"},
                               {"block_norm", layernorm, "block_norm"},
                               {"vocab_size", "many", "vocab_size"},
                               {"dim", 0, "'dim'"},
                               {"n_heads", 0, "'n_heads'"},
                               {"head_dim", 7, "'head_dim'"},
                               {"tolerance", 5, "logits_abs"},
                               {"mup", Json::array(), "enabled"}}) {
    Copy copy;
    Json json = copy.config();
    json[change.key] = change.value;
    copy.write_config(json);
    std::string complaint = copy.complaint();
    EXPECT_TRUE(has(complaint, change.names)) << change.key << ": " << complaint;
  }
}

TEST(GoldenCase, ReadsYocoCases) {
  GoldenCase c = read_golden_case(golden_folder("yoco_swa"));
  EXPECT_EQ(c.config.arch, Arch::yoco);
  EXPECT_EQ(c.config.self_decoder, SelfDecoder::sliding_window);
  EXPECT_EQ(c.config.window, 16);
  EXPECT_EQ(c.config.self_heads(), 4);
  EXPECT_EQ(c.config.n_heads, 8);
  EXPECT_EQ(c.config.kv_heads(), 2);
  EXPECT_EQ(c.config.mlp_size(), 72);
  EXPECT_EQ(c.padding_id, 1);
  EXPECT_EQ(read_golden_case(golden_folder("yoco_gret")).config.decay_divisor, 16);
}

TEST(BadGoldenCase, YocoConventionsThatAreUnknownOrMissing) {
  struct Change {
    const char* key;
    Json value;
  };
  for (const Change& change : {Change{"self_decoder", "mamba"},
                               {"rope_style", "half_split"},
                               {"rope_frequency", "theta ** -(2i/head_dim)"},
                               {"hidden_act", "gelu"},
                               {"tie_word_embeddings", true},
                               {"attention_bias", true},
                               {"mlp_bias", true},
                               {"embed_scale", 1.0},
                               {"num_hidden_layers", 5},
                               {"self_head_dim", 8},
                               {"cross_head_dim", 7},
                               {"gate_logit_normalizer", "many"},
                               {"num_key_value_heads", 3},
                               {"pad_token_id", "none"}}) {
    Copy copy("yoco_gret");
    Json json = copy.config();
    json[change.key] = change.value;
    copy.write_config(json);
    EXPECT_TRUE(has(copy.complaint(), "config.json")) << change.key << ": " << copy.complaint();
    ASSERT_EQ(json.erase(change.key), 1u);
    copy.write_config(json);
    EXPECT_TRUE(has(copy.complaint(), change.key)) << copy.complaint();
  }
}

TEST(BadGoldenCase, StepsThatDoNotFit) {
  using Change = void (*)(std::vector<SafetensorsEntry>&);
  auto named = [](std::vector<SafetensorsEntry>& entries, const std::string& name) -> SafetensorsEntry& {
    return *std::find_if(entries.begin(), entries.end(), [&](const auto& entry) { return entry.name == name; });
  };
  static const auto find = named;
  for (Change change : {Change{[](std::vector<SafetensorsEntry>& all) {
                          std::erase_if(all, [](const auto& entry) { return entry.name == "batch.output_ids"; });
                        }},
                        Change{[](std::vector<SafetensorsEntry>& all) {
                          Tensor& t = find(all, "prompt0.step_logits").tensor;
                          t = t.view({16, 97}).slice_rows(0, 15).view({1, 15, 97});
                        }},
                        Change{[](std::vector<SafetensorsEntry>& all) {
                          Tensor& t = find(all, "batch.output_ids").tensor;
                          t = t.view({1, t.elements()});
                        }},
                        Change{[](std::vector<SafetensorsEntry>& all) {
                          Tensor& t = find(all, "prompt1.input_ids").tensor;
                          t = t.view({t.elements()});
                        }}}) {
    Copy copy("yoco_swa");
    copy.rewrite("gen.safetensors", change);
    EXPECT_NE(copy.check_complaint(), "");
  }
}

TEST(BadGoldenCase, ConfigThatIsNoJson) {
  Copy copy;
  for (const char* text : {"", "{", "[1, 2]", "\xff\xfe"}) {
    write_file_atomically(copy.path / "config.json", text);
    EXPECT_TRUE(has(copy.complaint(), "config.json")) << text;
  }
}

TEST(BadGoldenCase, WeightsMissingSuperfluousOrOfAnotherShape) {
  Storage other(DType::f32, {3, 5});
  Copy missing;
  missing.rewrite("weights.safetensors", [](auto& entries) { entries.pop_back(); });
  EXPECT_TRUE(has(missing.check_complaint(), "weights.safetensors")) << missing.check_complaint();
  Copy superfluous;
  superfluous.rewrite("weights.safetensors", [&](auto& e) { e.push_back({"layers.99.weight", other.tensor()}); });
  EXPECT_TRUE(has(superfluous.check_complaint(), "layers.99.weight")) << superfluous.check_complaint();
  Copy shape;
  shape.rewrite("weights.safetensors", [&](auto& e) {
    for (auto& entry : e) entry.tensor = entry.name == "embedding.weight" ? other.tensor() : entry.tensor;
  });
  EXPECT_TRUE(has(shape.check_complaint(), "[3, 5]")) << shape.check_complaint();
  Copy gone;
  std::filesystem::remove(gone.path / "weights.safetensors");
  EXPECT_TRUE(has(gone.check_complaint(), "weights.safetensors"));
}

TEST(BadGoldenCase, TruncatedFiles) {
  for (const char* file : {"weights.safetensors", "io.safetensors"}) {
    Copy copy;
    std::string bytes = read_file(copy.path / file);
    for (size_t size : {size_t{0}, size_t{5}, size_t{300}, bytes.size() - 1}) {
      write_file_atomically(copy.path / file, std::string_view(bytes).substr(0, size));
      EXPECT_TRUE(has(copy.check_complaint(), file)) << file << " " << size;
    }
  }
}

// One tensor of io.safetensors replaced by another, under every name that the check reads.
TEST(BadGoldenCase, InputsOfTheWrongTypeSizeOrRange) {
  Storage floats(DType::f32, {2, 40}), few(DType::i64, {2, 3}), flat(DType::i64, {80}), beyond(DType::i64, {2, 40}),
      descending(DType::i64, {2}), none(DType::f32, {0}), one(DType::f32, {1});
  for (int64_t i = 0; i < 80; ++i) beyond.tensor().as<int64_t>()[i] = (int64_t{1} << 32) + 5;
  descending.tensor().as<int64_t>()[0] = 9;
  descending.tensor().as<int64_t>()[1] = 4;
  struct Change {
    const char* name;
    const Tensor& tensor;
  };
  for (const Change& change : {Change{"input_ids", floats.tensor()},
                               {"input_ids", few.tensor()},
                               {"input_ids", flat.tensor()},
                               {"input_ids", beyond.tensor()},
                               {"targets", floats.tensor()},
                               {"targets", beyond.tensor()},
                               {"blocks", floats.tensor()},
                               {"blocks", descending.tensor()},
                               {"logits", one.tensor()},
                               {"loss", none.tensor()},
                               {"loss_per_token", one.tensor()},
                               {"grad.embedding.weight", one.tensor()},
                               {"hidden.embed", one.tensor()},
                               {"dec.0.lse_self", one.tensor()}}) {
    Copy copy;
    copy.rewrite("io.safetensors", [&](auto& entries) {
      for (auto& entry : entries) entry.tensor = entry.name == change.name ? change.tensor : entry.tensor;
    });
    EXPECT_NE(copy.check_complaint(), "") << change.name << " " << change.tensor.shape.text();
  }
  for (const char* name : {"input_ids", "targets", "logits", "loss", "loss_per_token", "grad.embedding.weight"}) {
    Copy copy;
    copy.rewrite("io.safetensors", [&](auto& entries) {
      std::erase_if(entries, [&](const SafetensorsEntry& entry) { return entry.name == name; });
    });
    EXPECT_TRUE(has(copy.check_complaint(), name)) << name;
  }
}

TEST(BadGoldenCase, GenerationInputs) {
  Storage one(DType::f32, {1}), floats(DType::f32, {5}), beyond(DType::i64, {5}), empty(DType::i64, {0});
  for (int64_t i = 0; i < 5; ++i) beyond.tensor().as<int64_t>()[i] = (int64_t{1} << 32) + 5;
  struct Change {
    const char* name;
    const Tensor& tensor;
  };
  for (const Change& change : {Change{"prompt.0", floats.tensor()},
                               {"prompt.0", beyond.tensor()},
                               {"output_ids.0", floats.tensor()},
                               {"output_ids.0", beyond.tensor()},
                               {"output_ids.0", empty.tensor()},
                               {"logits.0", one.tensor()},
                               {"enc_out.0", one.tensor()}}) {
    Copy copy("bdd_generate");
    copy.rewrite("io.safetensors", [&](auto& entries) {
      for (auto& entry : entries) entry.tensor = entry.name == change.name ? change.tensor : entry.tensor;
    });
    EXPECT_NE(copy.check_complaint(), "") << change.name << " " << change.tensor.shape.text();
  }
  Copy none("bdd_generate");
  none.rewrite("io.safetensors", [](auto& entries) {
    std::erase_if(entries, [](const SafetensorsEntry& e) { return e.name.find("prompt") != std::string::npos; });
  });
  EXPECT_TRUE(has(none.check_complaint(), "without prompts"));
}

}  // namespace
}  // namespace tandem::test
