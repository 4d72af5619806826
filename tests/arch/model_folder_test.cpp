#include "arch/model_folder.h"

#include <gtest/gtest.h>

#include <cstring>

#include "arch/model_check.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/temporary_folder.h"
#include "formats/safetensors.h"

namespace tandem::test {
namespace {

constexpr auto kNone = ParameterStore::Gradients::none;

class ModelFolder : public testing::TestWithParam<NamedConfig> {};

TEST_P(ModelFolder, LoadedModelIsTheSavedOne) {
  TemporaryFolder folder;
  auto saved = random_model(GetParam().config, Precision::float32());
  save_model(folder / "model", *saved, "{\"a\": 1}");
  EXPECT_EQ(read_file(folder / "model/tokenizer.json"), "{\"a\": 1}");
  auto loaded = load_model(folder / "model", Precision::float32(), kNone);
  auto theirs = loaded->parameters().all().begin();
  for (const Parameter& p : saved->parameters().all()) {
    EXPECT_EQ(p.name(), theirs->name());
    EXPECT_EQ(std::memcmp(p.master().data, theirs->master().data, static_cast<size_t>(p.master().bytes())), 0);
    ++theirs;
  }
  Context ctx(2);
  Batch batch = random_batch(saved->config(), 1, 12, {4, 7});
  EXPECT_EQ(logits_of(*saved, batch, ctx), logits_of(*loaded, batch, ctx));
}

INSTANTIATE_TEST_SUITE_P(Small, ModelFolder, testing::ValuesIn(small_configs()),
                         [](const auto& test) { return test.param.name; });

// A saved model whose files a test then spoils.
struct Saved {
  TemporaryFolder folder;
  ModelConfig config = small_config(Arch::double_decoder);
  std::filesystem::path path = folder / "model";

  Saved() { save_model(path, *random_model(config, Precision::float32()), ""); }
  std::string complaint() {
    return message_of<InputError>([&] { load_model(path, Precision::float32(), kNone); });
  }
  void set_config(const std::string& key, const Json& value) {
    Json json = read_json(path / "config.json");
    json[key] = value;
    write_file_atomically(path / "config.json", json.dump());
  }
};

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(BadModelFolder, NotThereOrAFile) {
  TemporaryFolder folder;
  write_file_atomically(folder / "file", "x");
  EXPECT_TRUE(has(message_of<InputError>([&] { read_model_config(folder / "nothing"); }), "nothing there"));
  EXPECT_TRUE(has(message_of<InputError>([&] { read_model_config(folder / "file"); }), "a file"));
  EXPECT_TRUE(has(message_of<InputError>([&] { read_model_config(folder.path()); }), "config.json"));
}

TEST(BadModelFolder, ConfigThatDoesNotFit) {
  struct Spoiled {
    std::string key;
    Json value;
  };
  for (const Spoiled& s : {Spoiled{"arch", "mamba"}, {"dim", -1}, {"dim", "wide"}, {"n_heads", 5}, {"dimm", 3}}) {
    Saved saved;
    saved.set_config(s.key, s.value);
    std::string complaint = saved.complaint();
    EXPECT_TRUE(has(complaint, s.key == "n_heads" ? "dim" : s.key)) << complaint;
    EXPECT_TRUE(has(complaint, "config.json")) << complaint;
  }
  Saved saved;
  write_file_atomically(saved.path / "config.json", "{\"dim\": 32");
  EXPECT_TRUE(has(saved.complaint(), "config.json"));
  write_file_atomically(saved.path / "config.json", "{\"dim\": 32}");
  EXPECT_TRUE(has(saved.complaint(), "arch"));
}

TEST(BadModelFolder, WeightsOfAnotherModel) {
  Saved more_layers;
  more_layers.set_config("n_decoder_layers", 3);
  EXPECT_TRUE(has(more_layers.complaint(), "decoder_layers.2.")) << more_layers.complaint();
  Saved fewer_layers;
  fewer_layers.set_config("n_decoder_layers", 1);
  EXPECT_TRUE(has(fewer_layers.complaint(), "does not have")) << fewer_layers.complaint();
  Saved wider;
  wider.set_config("vocab_size", 30);
  EXPECT_TRUE(has(wider.complaint(), "[29, 32]") && has(wider.complaint(), "[30, 32]")) << wider.complaint();
}

TEST(BadModelFolder, WeightsMissingTruncatedOrOfAnotherType) {
  Saved saved;
  std::filesystem::path weights = saved.path / "model.safetensors";
  std::string bytes = read_file(weights);
  for (size_t size : {size_t{0}, size_t{7}, size_t{100}, bytes.size() - 1}) {
    write_file_atomically(weights, std::string_view(bytes).substr(0, size));
    EXPECT_TRUE(has(saved.complaint(), "model.safetensors")) << size;
  }
  auto model = random_model(saved.config, Precision::float32());
  std::vector<SafetensorsEntry> entries;
  Storage integers(DType::i32, {29, 32});
  for (const Parameter& p : model->parameters().all()) {
    entries.push_back({p.name(), p.name() == "embedding.weight" ? integers.tensor() : p.master()});
  }
  write_safetensors(weights, entries);
  EXPECT_TRUE(has(saved.complaint(), "int32")) << saved.complaint();
  std::filesystem::remove(weights);
  EXPECT_TRUE(has(saved.complaint(), "model.safetensors")) << saved.complaint();
}

// Other programs store bfloat16; the masters take it over exactly.
TEST(ModelFolderTypes, Bfloat16WeightsAreWidened) {
  Saved saved;
  auto model = random_model(saved.config, Precision::float32());
  std::vector<Storage> narrow;
  std::vector<SafetensorsEntry> entries;
  for (const Parameter& p : model->parameters().all()) {
    narrow.emplace_back(DType::bf16, p.shape());
    copy_convert(narrow.back().tensor(), p.master());
    entries.push_back({p.name(), narrow.back().tensor()});
  }
  write_safetensors(saved.path / "model.safetensors", entries);
  auto loaded = load_model(saved.path, Precision::float32(), kNone);
  const Parameter& p = *loaded->parameters().find("embedding.weight");
  EXPECT_EQ(load_element(p.master(), 3, 5),
            round_to_bf16(load_element(model->parameters().find("embedding.weight")->master(), 3, 5)));
}

}  // namespace
}  // namespace tandem::test
