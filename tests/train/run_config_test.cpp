#include "train/run_config.h"

#include <gtest/gtest.h>

#include <array>

#include "base/error.h"
#include "base/json.h"
#include "base/temporary_folder.h"
#include "base/toml.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;
using test::message_of;
using test::put_file;
using test::TemporaryFolder;

RunConfig load(const fs::path& file, std::vector<std::string> overrides = {}) {
  return read_run_config(file.string(), overrides);
}

TEST(RunConfig, EveryFileUnderConfigsIsValid) {
  int seen = 0;
  for (const auto& entry : fs::recursive_directory_iterator(fs::path(TANDEM_SOURCE_DIR) / "configs")) {
    if (entry.path().extension() != ".toml") continue;
    RunConfig config = load(entry.path());
    EXPECT_GT(total_steps(config, 1'000'000), 0) << entry.path();
    EXPECT_NO_THROW(resolve_model(config).validate(entry.path().string())) << entry.path();
    EXPECT_EQ(config.output, "runs/" + entry.path().stem().string());
    ++seen;
  }
  EXPECT_GE(seen, 11);
}

// 0.6M to 28.9M count the parameters outside the embedding.
TEST(RunConfig, PaperSizesAreTheirs) {
  const std::array<std::pair<const char*, int64_t>, 5> sizes{
      {{"0.6m", 64}, {"2.4m", 128}, {"5.3m", 192}, {"14.7m", 320}, {"28.9m", 448}}};
  for (const auto& [name, dim] : sizes) {
    for (const char* arch : {"dd", "dec"}) {
      RunConfig config = load(fs::path(TANDEM_SOURCE_DIR) / fmt::format("configs/paper/{}_{}.toml", arch, name));
      EXPECT_EQ(config.model.dim, dim);
      EXPECT_EQ(config.model.head_size(), 64);
      EXPECT_EQ(config.model.n_encoder_layers, 8);
      EXPECT_EQ(config.model.n_decoder_layers, 4);
      EXPECT_EQ(config.model.vocab_size, 32768);
      EXPECT_EQ(config.model.max_seq_len, 2048);
      EXPECT_EQ(config.rows_per_step(), 512);
      EXPECT_EQ(config.model.arch, arch == std::string("dd") ? Arch::double_decoder : Arch::decoder);
      double millions = 12.0 * 12 * static_cast<double>(dim * dim) / 1e6;
      EXPECT_NEAR(millions, std::stod(name), 0.06);
    }
  }
}

TEST(RunConfig, TwinsDifferInTheArchitectureOnly) {
  fs::path configs = fs::path(TANDEM_SOURCE_DIR) / "configs";
  for (const char* size : {"0.6m", "2.4m", "5.3m", "14.7m", "28.9m"}) {
    RunConfig a = load(configs / fmt::format("paper/dd_{}.toml", size));
    RunConfig b = load(configs / fmt::format("paper/dec_{}.toml", size));
    EXPECT_EQ(first_difference(a, b), "model.arch");
    b.model.arch = a.model.arch;
    EXPECT_EQ(first_difference(a, b), "");
  }
  RunConfig a = load(configs / "docs/dd.toml"), b = load(configs / "docs/dec.toml");
  EXPECT_EQ(first_difference(a, b), "model.arch");
  b.model.arch = a.model.arch;
  EXPECT_EQ(first_difference(a, b), "");
  EXPECT_EQ(a.steps, b.steps);
}

TEST(RunConfig, UnknownKeysNameTheNearest) {
  TemporaryFolder folder;
  put_file(folder / "a.toml", "steps = 3\n[optimizer]\nlearning = 1.0\n");
  std::string message = message_of<InputError>([&] { load(folder / "a.toml"); });
  EXPECT_NE(message.find("a.toml:3"), std::string::npos) << message;
  put_file(folder / "b.toml", "steps = 3\n");
  message = message_of<InputError>([&] { load(folder / "b.toml", {"stps=4"}); });
  EXPECT_NE(message.find("'steps'"), std::string::npos) << message;
  EXPECT_THROW(load(folder / "b.toml", {"steps"}), InputError);
  EXPECT_THROW(load(folder / "b.toml", {"steps=many"}), InputError);
  EXPECT_THROW(load(folder / "none.toml"), InputError);
  EXPECT_THROW(load(folder.path()), InputError);
}

TEST(RunConfig, OverridesWin) {
  TemporaryFolder folder;
  put_file(folder / "a.toml", "steps = 3\nprecision = \"fp32\"\n[model]\ndim = 128\nn_heads = 2\n");
  RunConfig config = load(folder / "a.toml", {"steps=7", "dim=64", "output=x", "precision=bfloat16"});
  EXPECT_EQ(config.steps, 7);
  EXPECT_EQ(config.model.dim, 64);
  EXPECT_EQ(config.output, "x");
  EXPECT_EQ(config.precision, PrecisionChoice::bfloat16);
}

TEST(RunConfig, RefusesValuesThatNoRunCanUse) {
  TemporaryFolder folder;
  put_file(folder / "a.toml", "steps = 3\n");
  for (const char* bad : {"steps=-1", "micro_batch=0", "grad_accum=-2", "threads=-1", "keep_checkpoints=0",
                          "log_every=0", "eval_every=-1", "lr=-1", "floor=2", "n_heads=7", "vocab_size=1.5",
                          "model.vocab_size=-5", "max_seconds=-1", "precision=f16"}) {
    EXPECT_THROW(load(folder / "a.toml", {bad}), InputError) << bad;
  }
}

TEST(RunConfig, SurvivesItsOwnToml) {
  RunConfig config;
  config.output = "a \"quoted\" folder";
  config.optimizer.lr = 0.1 + 0.2;
  config.schedule.floor = 1e-300;
  config.data.sources = {"x.txt", "y z.jsonl"};
  config.precision = PrecisionChoice::bfloat16;
  RunConfig back;
  FieldList fields;
  list_fields(fields, back);
  apply_toml_text(fields, to_toml(config), "test");
  EXPECT_EQ(to_toml(back), to_toml(config));
  EXPECT_EQ(first_difference(config, back), "");
  EXPECT_EQ(back.optimizer.lr, 0.1 + 0.2);
}

TEST(RunConfig, SaysWhatMakesAnotherRun) {
  RunConfig a;
  for (const char* free : {"steps=9", "tokens=9", "checkpoint_every=9", "keep_checkpoints=9", "log_every=9",
                           "eval_every=9", "threads=9", "output=elsewhere", "max_seconds=9"}) {
    RunConfig b;
    FieldList fields;
    list_fields(fields, b);
    apply_override(fields, free);
    EXPECT_EQ(first_difference(a, b), "") << free;
  }
  for (const char* key : {"seed", "micro_batch", "grad_accum", "model.dim", "data.seed", "optimizer.lr",
                          "schedule.floor", "model.arch"}) {
    RunConfig b;
    FieldList fields;
    list_fields(fields, b);
    std::string value = key == std::string("model.arch") ? "decoder" : "0.75";
    if (fields.get(key).is_number_integer()) value = "77";
    apply_override(fields, std::string(key) + "=" + value);
    EXPECT_EQ(first_difference(a, b), key);
  }
}

TEST(RunConfig, LengthsBecomeSteps) {
  RunConfig config;
  config.micro_batch = 2;
  config.grad_accum = 5;
  config.model.max_seq_len = 100;  // 1000 tokens per step
  EXPECT_THROW(total_steps(config, 0), InputError);
  config.tokens = 2001;
  EXPECT_EQ(total_steps(config, 0), 3);
  config.steps = 4;
  EXPECT_THROW(total_steps(config, 0), InputError);
  config.tokens = 0;
  EXPECT_EQ(total_steps(config, 0), 4);
  config.steps = 0;
  config.epochs = 1.5;
  EXPECT_EQ(total_steps(config, 10'000), 15);
  config.epochs = 0;
  config.max_seconds = 5;
  EXPECT_EQ(total_steps(config, 0), 0);
}

TEST(RunConfig, VocabularyFollowsTheTokenizer) {
  RunConfig config;
  EXPECT_EQ(resolve_model(config, 731).vocab_size, 731);
  config.model.vocab_size = 1000;
  EXPECT_EQ(resolve_model(config, 731).vocab_size, 1000);
  EXPECT_THROW(resolve_model(config, 1001), InputError);
}

TEST(RunConfig, ObjectiveFollowsArchitectureAndDataUnlessNamed) {
  const fs::path tiny = fs::path(TANDEM_SOURCE_DIR) / "configs/tiny.toml";
  auto objective = [&](std::vector<std::string> overrides) { return objective_of(load(tiny, std::move(overrides))); };
  EXPECT_EQ(objective({}), Objective::text);
  EXPECT_EQ(objective({"model.arch=encoder_decoder"}), Objective::span_corruption);
  EXPECT_EQ(objective({"model.arch=encoder_decoder", "objective=prefix_lm"}), Objective::prefix_lm);
  EXPECT_EQ(objective({"data.records=conversations"}), Objective::conversation);
  for (std::vector<std::string> bad : {std::vector<std::string>{"objective=span_corruption"},
                                       {"objective=conversation"},
                                       {"objective=prefix_lm", "data.records=conversations"},
                                       {"model.arch=encoder_decoder", "objective=text"}}) {
    EXPECT_NE(message_of<InputError>([&] { load(tiny, bad); }).find("objective"), std::string::npos) << bad[0];
  }
}

TEST(RunConfig, SentinelsExtendTheVocabulary) {
  RunConfig config;
  config.model.arch = Arch::encoder_decoder;
  ModelConfig model = resolve_model(config, 1000);
  EXPECT_EQ(model.vocab_size, 1100);
  EXPECT_EQ(model.sentinel_start, 1000);
  config.model.sentinel_start = 6;  // the tokenizer's own
  EXPECT_EQ(resolve_model(config, 1000).vocab_size, 1000);
  config.model.sentinel_start = -1;
  config.model.vocab_size = 1050;
  EXPECT_THROW(resolve_model(config, 1000), InputError);
  config.model.n_sentinels = 50;
  EXPECT_EQ(resolve_model(config, 1000).sentinel_start, 1000);
}

TEST(RunConfig, Bf16NeedsItsProducts) {
  EXPECT_EQ(choose_precision(PrecisionChoice::automatic, Isa::avx512_bf16), Precision::bfloat16());
  EXPECT_EQ(choose_precision(PrecisionChoice::automatic, Isa::avx2), Precision::float32());
  EXPECT_EQ(choose_precision(PrecisionChoice::bfloat16, Isa::avx512), Precision::float32());
  EXPECT_EQ(choose_precision(PrecisionChoice::float32, Isa::amx), Precision::float32());
}

}  // namespace
}  // namespace tandem
