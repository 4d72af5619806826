#include "convert/convert.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

#include "arch/model_check.h"
#include "arch/model_folder.h"
#include "arch/stop_ids.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/temporary_folder.h"
#include "convert/llama_check.h"
#include "formats/safetensors.h"

namespace tandem::test {
namespace {

namespace fs = std::filesystem;

ConvertSummary go(const fs::path& from, const fs::path& to, std::optional<ModelFormat> format = {},
                  const std::function<void(ConvertOptions&)>& change = {}) {
  ConvertOptions options{.source = from, .destination = to, .to = format};
  if (change) change(options);
  return convert(options, [](double, std::string_view) {});
}

std::string weights_of(const fs::path& folder) { return read_file(folder / "model.safetensors"); }

ModelConfig llama_config() { return test::llama_config(3, 40); }

// What a conversion there and back brings is the same to the last bit: weights, sizes, tokenizer.
void expect_same_model(const fs::path& a, const fs::path& b) {
  EXPECT_EQ(weights_of(a), weights_of(b));
  ModelConfig left = read_model_config(a), right = read_model_config(b);
  FieldList l, r;
  list_fields(l, left);
  list_fields(r, right);
  EXPECT_EQ(l.to_json(), r.to_json());
}

class AuthorsRoundTrip : public testing::TestWithParam<NamedConfig> {};

TEST_P(AuthorsRoundTrip, IsBitExact) {
  TemporaryFolder folder;
  const ModelConfig& config = GetParam().config;
  auto model = random_model(config, Precision::float32());
  save_model(folder / "ours", *model, "");
  bool theirs = config.arch == Arch::yoco || config.arch == Arch::block_transformer;
  bool mu = config.arch == Arch::encoder_decoder && !config.cross_rope;
  bool none =
      !theirs && (config.mlp == MlpKind::swiglu || config.memory_kv == MemoryKv::one_for_all || !config.tied_output ||
                  config.qkv_biases || config.biases != mu || (config.output_norm == OutputNorm::rmsnorm) != mu);
  if (none) {
    std::string message =
        message_of<InputError>([&] { go(folder / "ours", folder / "theirs.safetensors", ModelFormat::authors); });
    EXPECT_NE(message.find("authors' code does not have"), std::string::npos) << message;
    EXPECT_FALSE(fs::exists(folder / "theirs.safetensors"));
    return;
  }
  go(folder / "ours", folder / "theirs.safetensors");
  ConvertSummary back = go(folder / "theirs.safetensors", folder / "back", std::nullopt,
                           [&](ConvertOptions& options) { options.config = config; });
  EXPECT_EQ(back.from, ModelFormat::authors);
  EXPECT_EQ(back.parameters, model->parameters().elements());
  expect_same_model(folder / "ours", folder / "back");
  go(folder / "ours", folder / "theirs.pt");
  go(folder / "theirs.pt", folder / "again", std::nullopt, [&](ConvertOptions& options) { options.config = config; });
  expect_same_model(folder / "ours", folder / "again");
}

INSTANTIATE_TEST_SUITE_P(Small, AuthorsRoundTrip, testing::ValuesIn(small_configs()),
                         [](const auto& test) { return test.param.name; });

TEST(HuggingFaceRoundTrip, IsBitExact) {
  for (const auto& [name, config] : llama_variants(3, 40)) {
    SCOPED_TRACE(name);
    TemporaryFolder folder;
    auto model = random_model(config, Precision::float32());
    save_model(folder / "ours", *model, "");
    go(folder / "ours", folder / "theirs", ModelFormat::huggingface);
    EXPECT_EQ(SafetensorsFile::open(folder / "theirs/model.safetensors").contains("lm_head.weight"),
              !config.tied_output);
    ConvertSummary back = go(folder / "theirs", folder / "back");
    EXPECT_EQ(back.from, ModelFormat::huggingface);
    EXPECT_EQ(weights_of(folder / "ours"), weights_of(folder / "back"));
    EXPECT_EQ(read_model_config(folder / "back").eos_id, config.eos_id);
    expect_same_logits(*model, folder / "back");
  }
}

// The family has no muP: its scales of scores and logits become parts of the weights.
TEST(HuggingFace, MupGoesIntoTheWeights) {
  for (bool tied : {false, true}) {
    TemporaryFolder folder;
    ModelConfig config = llama_config();
    config.tied_output = tied;
    config.mup_base_dim = 16;
    config.mup_base_head_dim = 4;
    auto model = random_model(config, Precision::float32());
    save_model(folder / "ours", *model, "");
    EXPECT_EQ(go(folder / "ours", folder / "theirs", ModelFormat::huggingface).notes.size(), 1u);
    go(folder / "theirs", folder / "back");
    auto restored = load_model(folder / "back", Precision::reference(), ParameterStore::Gradients::none);
    auto reference = load_model(folder / "ours", Precision::reference(), ParameterStore::Gradients::none);
    EXPECT_EQ(restored->config().mup_base_dim, 0);
    Context ctx(1);
    Batch batch = random_batch(config, 1, 20, {});
    auto a = logits_of(*reference, batch, ctx), b = logits_of(*restored, batch, ctx);
    for (size_t t = 0; t < a.size(); ++t) EXPECT_LE(largest_difference(a[t], b[t]), 1e-5);
  }
}

// A folder of the family with one field changed.
struct Change {
  const char* what;
  std::function<void(OrderedJson&)> make;
  const char* expected;  // in the message; empty: the folder is read
};

TEST(HuggingFace, FieldsThatAreNotSupportedAreNamed) {
  TemporaryFolder folder;
  save_model(folder / "ours", *random_model(llama_config(), Precision::float32()), "");
  go(folder / "ours", folder / "theirs", ModelFormat::huggingface);
  const std::string original = read_file(folder / "theirs/config.json");
  const std::vector<Change> changes{
      {"as it is", [](OrderedJson&) {}, ""},
      {"activation", [](OrderedJson& j) { j["hidden_act"] = "gelu"; }, "hidden_act"},
      {"swish", [](OrderedJson& j) { j["hidden_act"] = "swish"; }, ""},
      {"architecture", [](OrderedJson& j) { j["architectures"] = {"GPT2LMHeadModel"}; }, "GPT2LMHeadModel"},
      {"two",
       [](OrderedJson& j) {
         j["architectures"] = {"LlamaForCausalLM", "X"};
       },
       "architectures"},
      {"mistral", [](OrderedJson& j) { j["architectures"] = {"MistralForCausalLM"}; }, ""},
      {"model_type", [](OrderedJson& j) { j.erase("architectures"); }, ""},
      {"window", [](OrderedJson& j) { j["sliding_window"] = 8; }, "sliding_window"},
      {"wide window", [](OrderedJson& j) { j["sliding_window"] = 24; }, ""},
      {"scaling",
       [](OrderedJson& j) {
         j["rope_scaling"] = {{"rope_type", "yarn"}, {"factor", 2}};
       },
       "yarn"},
      {"no factor",
       [](OrderedJson& j) {
         j["rope_scaling"] = {{"type", "linear"}};
       },
       "factor"},
      {"zero factor",
       [](OrderedJson& j) {
         j["rope_scaling"] = {{"type", "linear"}, {"factor", 0}};
       },
       "factor"},
      {"linear",
       [](OrderedJson& j) {
         j["rope_scaling"] = {{"type", "linear"}, {"factor", 2}};
       },
       ""},
      {"quantised",
       [](OrderedJson& j) {
         j["quantization_config"] = {{"bits", 4}};
       },
       "quantization_config"},
      {"biases", [](OrderedJson& j) { j["attention_bias"] = true; }, "attention_bias"},
      {"mlp biases", [](OrderedJson& j) { j["mlp_bias"] = true; }, "mlp_bias"},
      {"partial", [](OrderedJson& j) { j["partial_rotary_factor"] = 0.5; }, "partial_rotary_factor"},
      {"negative", [](OrderedJson& j) { j["hidden_size"] = -32; }, "dim"},
      {"fraction", [](OrderedJson& j) { j["num_hidden_layers"] = 2.5; }, "num_hidden_layers"},
      {"text", [](OrderedJson& j) { j["rms_norm_eps"] = "nan"; }, "rms_norm_eps"},
      {"missing", [](OrderedJson& j) { j.erase("intermediate_size"); }, "intermediate_size"},
      {"other width", [](OrderedJson& j) { j["intermediate_size"] = 48; }, "mlp."},
      {"more layers", [](OrderedJson& j) { j["num_hidden_layers"] = 4; }, "model.layers.3"},
      {"fewer layers", [](OrderedJson& j) { j["num_hidden_layers"] = 2; }, "model.layers.2"},
      {"tied", [](OrderedJson& j) { j["tie_word_embeddings"] = true; }, ""},
      {"gigantic",
       [](OrderedJson& j) {
         j["num_hidden_layers"] = 4096;
         j["intermediate_size"] = 1 << 24;
       },
       "do not belong together"},
      {"huge vocabulary", [](OrderedJson& j) { j["vocab_size"] = 1 << 24; }, "do not belong together"},
      {"many heads",
       [](OrderedJson& j) {
         j["num_attention_heads"] = 4096;
         j["head_dim"] = 256;
       },
       "do not belong together"},
      {"several ends",
       [](OrderedJson& j) {
         j["eos_token_id"] = {2, 5};
       },
       ""},
  };
  for (const Change& change : changes) {
    SCOPED_TRACE(change.what);
    OrderedJson json = OrderedJson::parse(original);
    change.make(json);
    put_file(folder / "theirs/config.json", json.dump());
    fs::create_directory(folder / "results");
    if (std::string_view(change.expected).empty()) {
      go(folder / "theirs", folder / "results/model");
      EXPECT_EQ(read_model_config(folder / "results/model").eos_id, 2);
    } else {
      std::string message = message_of<InputError>([&] { go(folder / "theirs", folder / "results/model"); });
      EXPECT_NE(message.find(change.expected), std::string::npos) << message;
      EXPECT_TRUE(fs::is_empty(folder / "results")) << "something was left behind";
    }
    fs::remove_all(folder / "results");
  }
}

// Tensors of a safetensors file, changed, as another file.
void rewrite(const fs::path& file, const std::function<void(std::vector<SafetensorsEntry>&)>& change) {
  fs::path old = file;
  old += ".old.safetensors";
  fs::rename(file, old);
  SafetensorsFile opened = SafetensorsFile::open(old);
  std::vector<SafetensorsEntry> entries;
  for (const std::string& name : opened.names()) entries.push_back({name, opened.tensor(name)});
  change(entries);
  write_safetensors(file, entries, {{"format", "pt"}});
}

TEST(HuggingFace, ReadsShardsAndOtherTypes) {
  TemporaryFolder folder;
  ModelConfig config = llama_config();
  save_model(folder / "ours", *random_model(config, Precision::float32()), "");
  const std::vector<std::pair<DType, WeightType>> types{
      {DType::f32, WeightType::float32}, {DType::bf16, WeightType::bfloat16}, {DType::f16, WeightType::float16}};
  for (auto [dtype, type] : types) {
    SCOPED_TRACE(dtype_name(dtype));
    fs::path theirs = folder / std::string(dtype_name(dtype));
    go(folder / "ours", theirs, ModelFormat::huggingface,
       [type = type](ConvertOptions& options) { options.type = type; });
    SafetensorsFile whole = SafetensorsFile::open(theirs / "model.safetensors");
    EXPECT_EQ(whole.tensor("model.norm.weight").dtype, dtype);
    OrderedJson map = OrderedJson::object();
    std::vector<SafetensorsEntry> halves[2];
    for (const std::string& name : whole.names()) {
      size_t half = map.size() % 2;
      halves[half].push_back({name, whole.tensor(name)});
      map[name] = half == 0 ? "a.safetensors" : "b.safetensors";
    }
    write_safetensors(theirs / "a.safetensors", halves[0]);
    write_safetensors(theirs / "b.safetensors", halves[1]);
    fs::remove(theirs / "model.safetensors");
    put_file(theirs / "model.safetensors.index.json", OrderedJson{{"weight_map", map}}.dump());
    fs::path back = folder / ("back " + std::string(dtype_name(dtype)));
    go(theirs, back);
    if (dtype == DType::f32) {
      EXPECT_EQ(weights_of(folder / "ours"), weights_of(back));
    } else {
      auto a = SafetensorsFile::open(folder / "ours/model.safetensors"),
           b = SafetensorsFile::open(back / "model.safetensors");
      Tensor x = a.tensor("layers.0.attention.qkv.weight"), y = b.tensor("layers.0.attention.qkv.weight");
      double rounding = dtype == DType::bf16 ? 0x1p-8 : 0x1p-11;
      for (int64_t r = 0; r < x.rows(); ++r) {
        for (int64_t i = 0; i < x.row_size(); ++i) {
          double value = load_element(x, r, i);
          ASSERT_LE(std::abs(load_element(y, r, i) - value), rounding * std::abs(value) + 0x1p-24);
        }
      }
    }
    map["model.extra"] = "a.safetensors";
    put_file(theirs / "model.safetensors.index.json", OrderedJson{{"weight_map", map}}.dump());
    EXPECT_NE(message_of<InputError>([&] { go(theirs, folder / "no"); }).find("model.extra"), std::string::npos);
    map["model.extra"] = "../a.safetensors";
    put_file(theirs / "model.safetensors.index.json", OrderedJson{{"weight_map", map}}.dump());
    EXPECT_NE(message_of<InputError>([&] { go(theirs, folder / "no"); }).find("no file beside"), std::string::npos);
  }
}

TEST(HuggingFace, LargeModelsAreWrittenInShards) {
  TemporaryFolder folder;
  ModelConfig config = llama_config();
  save_model(folder / "ours", *random_model(config, Precision::float32()), "");
  go(folder / "ours", folder / "one", ModelFormat::huggingface);
  SafetensorsFile whole = SafetensorsFile::open(folder / "one/model.safetensors");
  int64_t all = 0, largest = 0;
  for (const std::string& name : whole.names()) {
    all += whole.tensor(name).bytes();
    largest = std::max(largest, whole.tensor(name).bytes());
  }
  // As large as all tensors, a little smaller, about a third, and smaller than any of them.
  for (int64_t limit : {all, all - 1, largest + largest / 2, int64_t{1}}) {
    SCOPED_TRACE(limit);
    fs::path theirs = folder / fmt::format("theirs {}", limit), back = folder / fmt::format("back {}", limit);
    auto shards = [&](ConvertOptions& options) { options.shard_bytes = limit; };
    go(folder / "ours", theirs, ModelFormat::huggingface, shards);
    EXPECT_EQ(fs::exists(theirs / "model.safetensors"), limit == all);
    if (limit < all) {
      Json index = read_json(theirs / "model.safetensors.index.json");
      EXPECT_EQ(index.at("metadata").at("total_size"), all);
      ASSERT_EQ(index.at("weight_map").size(), whole.names().size());
      std::set<std::string> files;
      for (const auto& [name, file] : index.at("weight_map").items()) {
        SafetensorsFile shard = SafetensorsFile::open(theirs / file.get<std::string>());
        EXPECT_TRUE(shard.contains(name));
        int64_t bytes = 0;
        for (const std::string& each : shard.names()) bytes += shard.tensor(each).bytes();
        EXPECT_TRUE(bytes <= limit || shard.names().size() == 1) << file;
        files.insert(file);
      }
      std::string count = fmt::format("-of-{:05}.safetensors", files.size());
      EXPECT_EQ(*files.begin(), "model-00001" + count);
      EXPECT_TRUE(std::all_of(files.begin(), files.end(), [&](const std::string& f) { return f.ends_with(count); }));
      EXPECT_EQ(files.size() == whole.names().size(), limit == 1);
    }
    go(theirs, back);
    EXPECT_EQ(weights_of(folder / "ours"), weights_of(back));
  }
}

// Llama 3's chat models end in three ways; generation_config.json may know more of them than config.json.
TEST(HuggingFace, AllTokensThatEndATextAreKept) {
  TemporaryFolder folder;
  save_model(folder / "ours", *random_model(llama_config(), Precision::float32()), "");
  EXPECT_TRUE(read_stop_ids(folder / "ours", 29).empty());
  go(folder / "ours", folder / "theirs", ModelFormat::huggingface);
  EXPECT_EQ(read_stop_ids(folder / "theirs", 29), std::vector<int32_t>{2});
  go(folder / "theirs", folder / "plain");
  EXPECT_FALSE(fs::exists(folder / "plain/generation_config.json"));  // config.json says it
  Json json = read_json(folder / "theirs/config.json");
  json["eos_token_id"] = {7, 9};
  put_file(folder / "theirs/config.json", json.dump());
  put_file(folder / "theirs/generation_config.json", R"({"eos_token_id": [9, 5, 7], "temperature": 0.6})");
  ConvertSummary read = go(folder / "theirs", folder / "back");
  EXPECT_TRUE(read.notes.empty());
  EXPECT_EQ(read_model_config(folder / "back").eos_id, 7);
  const std::vector<int32_t> stops{7, 9, 5};
  EXPECT_EQ(read_stop_ids(folder / "back", 29), stops);
  go(folder / "back", folder / "again", ModelFormat::huggingface);
  EXPECT_EQ(read_json(folder / "again/config.json").at("eos_token_id"), Json(stops));
  EXPECT_EQ(read_stop_ids(folder / "again", 29), stops);
  // Without a list of its own the config takes what generation_config.json says.
  json["eos_token_id"] = nullptr;
  put_file(folder / "theirs/config.json", json.dump());
  go(folder / "theirs", folder / "third");
  EXPECT_EQ(read_model_config(folder / "third").eos_id, 9);
  for (const char* bad : {"[7, 29]", "[-1]", "\"7\"", "[[7]]", "7.0", "{}"}) {
    put_file(folder / "theirs/generation_config.json", fmt::format(R"({{"eos_token_id": {}}})", bad));
    EXPECT_NE(message_of<InputError>([&] { go(folder / "theirs", folder / "no"); }).find("eos_token_id"),
              std::string::npos)
        << bad;
  }
  put_file(folder / "theirs/generation_config.json", "[]");
  EXPECT_NE(message_of<InputError>([&] { go(folder / "theirs", folder / "no"); }).find("generation_config.json"),
            std::string::npos);
}

TEST(Convert, TensorsThatDoNotFitAreNamed) {
  TemporaryFolder folder;
  ModelConfig config = small_config(Arch::double_decoder);
  save_model(folder / "ours", *random_model(config, Precision::float32()), "");
  Storage extra(DType::f32, {3}), integers(DType::i32, {32});
  const std::vector<std::pair<std::string, std::function<void(std::vector<SafetensorsEntry>&)>>> cases{
      {"missing tensor", [](auto& entries) { entries.pop_back(); }},
      {"'surplus'",
       [&](auto& entries) {
         entries.push_back({"surplus", extra.tensor()});
       }},
      {"does not fit",
       [&](auto& entries) {
         for (auto& e : entries) {
           if (e.name == "output_norm.bias") e.tensor = extra.tensor();
         }
       }},
      {"int32",
       [&](auto& entries) {
         for (auto& e : entries) {
           if (e.name == "output_norm.bias") e.tensor = integers.tensor();
         }
       }},
      {"with and without",
       [&](auto& entries) {
         entries.push_back({"module.output_norm.bias", extra.tensor()});
       }},
  };
  for (const auto& [expected, change] : cases) {
    SCOPED_TRACE(expected);
    go(folder / "ours", folder / "theirs.safetensors");
    rewrite(folder / "theirs.safetensors", change);
    std::string message = message_of<InputError>([&] {
      go(folder / "theirs.safetensors", folder / "new", std::nullopt,
         [&](ConvertOptions& options) { options.config = config; });
    });
    EXPECT_NE(message.find(expected), std::string::npos) << message;
    EXPECT_FALSE(fs::exists(folder / "new"));
    fs::remove(folder / "theirs.safetensors");
  }
}

// What torch's wrappers put before names goes; the tied matrix may be there twice.
TEST(Convert, WrappersOfNamesAreTakenOff) {
  TemporaryFolder folder;
  ModelConfig config = small_config(Arch::double_decoder);
  save_model(folder / "ours", *random_model(config, Precision::float32()), "");
  go(folder / "ours", folder / "theirs.safetensors");
  rewrite(folder / "theirs.safetensors", [](auto& entries) {
    for (auto& e : entries) {
      if (e.name == "embedding.weight") {
        entries.push_back({"output_projection.weight", e.tensor});
        break;
      }
    }
    for (auto& e : entries) e.name = "module._orig_mod." + e.name;
  });
  go(folder / "theirs.safetensors", folder / "back", std::nullopt,
     [&](ConvertOptions& options) { options.config = config; });
  expect_same_model(folder / "ours", folder / "back");
}

// tests/convert/data: what the authors' own classes save, with the optimizer's tensors, the arguments and numbers
// beside the state_dict. Element i of a parameter is (7 i + length of its name) % 101 / 128.
double written(const std::string& theirs, int64_t i) {
  return static_cast<double>((7 * i + static_cast<int64_t>(theirs.size())) % 101) / 128;
}

TEST(AuthorsCheckpoint, DoubleDecoderOfTheirTrainingScript) {
  TemporaryFolder folder;
  fs::path source = fs::path(TANDEM_SOURCE_DIR) / "tests/convert/data/double_decoder.pt";
  go(source, folder / "ours");
  auto model = load_model(folder / "ours", Precision::float32(), ParameterStore::Gradients::none);
  const ModelConfig& c = model->config();
  EXPECT_EQ(c.arch, Arch::double_decoder);
  EXPECT_EQ(c.memory_kv, MemoryKv::per_layer);
  EXPECT_EQ(std::vector({c.dim, c.n_heads, c.n_encoder_layers, c.n_decoder_layers, c.max_seq_len, c.vocab_size}),
            (std::vector<int64_t>{16, 2, 2, 1, 32, 19}));
  EXPECT_EQ(c.mup_base_dim, 8);
  EXPECT_EQ(c.mup_base_head_dim, 4);
  const Tensor& kv = model->parameters().find("decoder_layers.0.attention.kv.weight")->master();
  for (int64_t i : {0, 15, 16, 511}) {
    EXPECT_EQ(load_element(kv, 0, i), written("decoder_layers.0.combo_attn.dec_kv_proj.weight", i));
  }
}

TEST(AuthorsCheckpoint, MuOfTheirTrainingScript) {
  TemporaryFolder folder;
  fs::path source = fs::path(TANDEM_SOURCE_DIR) / "tests/convert/data/mu.pt";
  go(source, folder / "ours");
  auto model = load_model(folder / "ours", Precision::float32(), ParameterStore::Gradients::none);
  const ModelConfig& c = model->config();
  EXPECT_EQ(c.arch, Arch::encoder_decoder);
  EXPECT_EQ(
      std::vector({c.dim, c.n_heads, c.n_kv_heads, c.head_dim, c.mlp_dim, c.n_encoder_layers, c.n_decoder_layers}),
      (std::vector<int64_t>{16, 6, 3, 4, 12, 1, 1}));
  EXPECT_FALSE(c.cross_rope);
  EXPECT_TRUE(c.biases);
  // Our query heads 0 and 1 read key head 0; theirs are 0 and 3. The columns of the output projection move alike.
  const Tensor& qkv = model->parameters().find("encoder_layers.0.attention.qkv.weight")->master();
  const Tensor& out = model->parameters().find("encoder_layers.0.attention.out.weight")->master();
  for (int64_t r = 0; r < 4; ++r) {
    EXPECT_EQ(load_element(qkv, 4 + r, 0), written("transformer.e.0.attn.q_linear.weight", (12 + r) * 16));
    EXPECT_EQ(load_element(qkv, 24 + r, 0), written("transformer.e.0.attn.k_linear.weight", r * 16));
    EXPECT_EQ(load_element(out, 0, 4 + r), written("transformer.e.0.attn.out_linear.weight", 12 + r));
  }
}

TEST(Convert, NothingIsOverwrittenUnasked) {
  TemporaryFolder folder;
  save_model(folder / "ours", *random_model(llama_config(), Precision::float32()), "");
  auto overwrite = [](ConvertOptions& options) { options.overwrite = true; };
  auto refused = [&](const fs::path& to, const std::function<void(ConvertOptions&)>& change) {
    return message_of<InputError>([&] { go(folder / "ours", to, ModelFormat::huggingface, change); });
  };
  fs::create_directory(folder / "mine");
  go(folder / "ours", folder / "mine", ModelFormat::huggingface);  // an empty folder is free
  EXPECT_NE(refused(folder / "mine", {}).find("--overwrite"), std::string::npos);
  put_file(folder / "mine/old", "x");
  go(folder / "ours", folder / "mine", ModelFormat::huggingface, overwrite);
  EXPECT_FALSE(fs::exists(folder / "mine/old"));
  fs::create_directory(folder / "photos");
  put_file(folder / "photos/cat.jpg", "x");
  EXPECT_NE(refused(folder / "photos", overwrite).find("taken"), std::string::npos);
  EXPECT_EQ(read_file(folder / "photos/cat.jpg"), "x");
  put_file(folder / "file", "x");
  EXPECT_NE(refused(folder / "file", overwrite).find("taken"), std::string::npos);
  size_t count = 0;
  for (const auto& entry : fs::directory_iterator(folder.path())) count += entry.exists() ? 1 : 0;
  EXPECT_EQ(count, 4u) << "ours, mine, photos, file";
}

// The id of a process that has ended.
int ended_process() {
  pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  ::waitpid(child, nullptr, 0);
  return child;
}

TEST(Convert, WhatAKilledConversionLeftIsRemoved) {
  TemporaryFolder folder;
  save_model(folder / "ours", *random_model(llama_config(), Precision::float32()), "");
  const int gone = ended_process(), here = ::getpid();
  auto left = [&](const char* mark, int process, const char* name) {
    return folder / fmt::format("{}{}-{}", mark, process, name);
  };
  fs::create_directory(left(".converting-", gone, "model"));
  put_file(left(".converting-", gone, "model") / "model.safetensors", "half");
  put_file(left(".converting-", gone, fmt::format("x.gguf.part-{}", gone).c_str()), "half");
  fs::create_directory(left(".converting-", here, "another"));  // is being made
  put_file(folder / ".converting-notes", "mine");
  // Killed between the two renames: nothing stands where the model was. And behind them: what replaced it does.
  fs::create_directory(left(".replaced-", gone, "lost"));
  put_file(left(".replaced-", gone, "lost") / "config.json", "old");
  fs::create_directory(left(".replaced-", gone, "ours"));
  go(folder / "ours", folder / "theirs", ModelFormat::huggingface);
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder.path())) names.insert(entry.path().filename());
  EXPECT_EQ(names, (std::set<std::string>{fmt::format(".converting-{}-another", here), ".converting-notes", "lost",
                                          "ours", "theirs"}));
  EXPECT_EQ(read_file(folder / "lost/config.json"), "old");
  EXPECT_TRUE(fs::exists(folder / "ours/config.json"));
}

TEST(Convert, SaysWhatItNeeds) {
  TemporaryFolder folder;
  EXPECT_NE(message_of<InputError>([&] { go(folder / "none", folder / "new"); }).find("nothing to convert"),
            std::string::npos);
  save_model(folder / "ours", *random_model(small_config(Arch::double_decoder), Precision::float32()), "");
  EXPECT_NE(message_of<InputError>([&] { go(folder / "ours", folder / "new"); }).find("--to"), std::string::npos);
  EXPECT_NE(message_of<InputError>([&] { go(folder / "ours", folder / "new", ModelFormat::huggingface); }).find("arch"),
            std::string::npos);
  go(folder / "ours", folder / "theirs.safetensors");
  fs::create_directory(folder / "alone");
  fs::rename(folder / "theirs.safetensors", folder / "alone/theirs.safetensors");
  EXPECT_NE(message_of<InputError>([&] { go(folder / "alone/theirs.safetensors", folder / "new"); }).find("--config"),
            std::string::npos);
  EXPECT_NE(message_of<InputError>([&] {
              go(folder / "ours", folder / "new", ModelFormat::tandem,
                 [](ConvertOptions& options) { options.max_length = 25; });
            }).find("--max-length"),
            std::string::npos);
  go(folder / "ours", folder / "new", ModelFormat::tandem, [](ConvertOptions& options) { options.max_length = 12; });
  EXPECT_EQ(read_model_config(folder / "new").max_seq_len, 12);
}

}  // namespace
}  // namespace tandem::test
