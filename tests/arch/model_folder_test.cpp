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

std::vector<float> some_logits(Model& model, Context& ctx) {
  std::vector<float> logits(static_cast<size_t>(model.config().vocab_size));
  Tape tape(ctx, model.parameters().precision(), Tape::Mode::no_grad);
  auto state = model.new_state(16);
  model.prefill(tape, *state, std::vector<int32_t>{1, 2, 3, 4});
  tape.reset();
  model.decode(tape, *state, 5, logits);
  return logits;
}

// What was packed is written and read as it is. (The first time the table of embeddings becomes what the file holds.)
TEST_P(ModelFolder, PackedModelIsTheSavedOne) {
  using kernels::WeightFormat;
  Context ctx(2);
  for (WeightFormat format : {WeightFormat::bf16, WeightFormat::int8, WeightFormat::int4}) {
    SCOPED_TRACE(weight_format_name(format));
    TemporaryFolder folder;
    auto original = random_model(GetParam().config, Precision::float32());
    original->parameters().pack(ctx, format);
    save_packed_model(folder / "once", *original, "");
    auto read = [&](const char* name) {
      auto model = load_model(folder / name, Precision::float32(), kNone);
      model->parameters().pack(ctx, format);  // bf16 files hold plain tensors
      return model;
    };
    auto once = read("once");
    for (const Parameter& p : original->parameters().all()) {
      const kernels::PackedWeight &mine = p.packed(), &theirs = once->parameters().find(p.name())->packed();
      ASSERT_EQ(theirs.bytes(), mine.bytes()) << p.name();
      for (int64_t i = 0; i < mine.panels() && mine.defined(); ++i) {
        ASSERT_EQ(std::memcmp(mine.panel(i), theirs.panel(i), static_cast<size_t>(mine.panel_bytes())), 0) << p.name();
      }
    }
    save_packed_model(folder / "twice", *once, "");
    EXPECT_EQ(read_file(folder / "once/model.safetensors"), read_file(folder / "twice/model.safetensors"));
    EXPECT_EQ(some_logits(*once, ctx), some_logits(*read("twice"), ctx));
  }
}

TEST(BadModelFolder, QuantisedWeights) {
  TemporaryFolder folder;
  Context ctx(1);
  auto model = random_model(small_config(Arch::decoder), Precision::float32());
  model->parameters().pack(ctx, kernels::WeightFormat::int8);
  save_packed_model(folder / "model", *model, "");
  std::string trained = message_of<InputError>(
      [&] { load_model(folder / "model", Precision::float32(), ParameterStore::Gradients::wanted); });
  EXPECT_NE(trained.find("cannot be trained"), std::string::npos) << trained;
  // Scales without their steps, and steps that are said to be of another format.
  std::string bytes = read_file(folder / "model/model.safetensors");
  for (auto [from, to] : {std::pair{"\"weights\":\"int8\"", "\"weights\":\"int4\""},
                          std::pair{"\"weights\":\"int8\"", "\"weights\":\"int9\""},
                          std::pair{"\"weights\":\"int8\"", "\"weightz\":\"int8\""}}) {
    std::string damaged = bytes;
    size_t at = damaged.find(from);
    ASSERT_NE(at, std::string::npos);
    damaged.replace(at, std::string(from).size(), to);
    write_file_atomically(folder / "model/model.safetensors", damaged);
    EXPECT_NE(message_of<InputError>([&] { load_model(folder / "model", Precision::float32(), kNone); }), "") << to;
  }
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
