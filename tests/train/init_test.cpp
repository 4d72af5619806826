#include "train/init.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "arch/model_folder.h"
#include "base/error.h"
#include "base/json.h"
#include "base/temporary_folder.h"
#include "base/toml.h"
#include "text/extend_tokenizer.h"
#include "train/training_check.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;
using test::message_of;
using test::put_file;
using test::quiet_hooks;
using test::small_run;
using test::TemporaryFolder;

TrainResult run(const RunConfig& config, const TrainHooks& hooks = quiet_hooks()) {
  Context ctx(static_cast<int>(config.threads));
  return train(ctx, config, hooks);
}

std::unique_ptr<Model> model_in(const fs::path& folder) {
  return load_model(folder, Precision::float32(), ParameterStore::Gradients::none);
}

// A source run of a few steps, and runs that begin with its model.
class Init : public testing::TestWithParam<Arch> {
 protected:
  Init() {
    source_ = small_run(folder_ / "source");
    source_.model.arch = GetParam();
    source_.steps = 4;
    source_.data.cache = (folder_ / "tokens").string();
    run(source_);
  }

  // A config as a user writes it: what is not here is inherited.
  RunConfig load(const std::string& name, std::vector<std::string> overrides = {}) const {
    put_file(folder_ / "tune.toml",
             "steps = 3\nmicro_batch = 2\nthreads = 2\neval_rows = 4\neval_every = 1\n[data]\nsynthetic_bytes = 60000\n"
             "synthetic_seed = 2\n");
    overrides.push_back("output=" + (folder_ / name).string());
    overrides.push_back("data.cache=" + (folder_ / "tokens").string());
    if (!has_init(overrides)) overrides.push_back("init=" + (folder_ / "source").string());
    return load_run_config((folder_ / "tune.toml").string(), overrides);
  }
  static bool has_init(const std::vector<std::string>& overrides) {
    return std::any_of(overrides.begin(), overrides.end(), [](const auto& o) { return o.starts_with("init="); });
  }
  std::unique_ptr<Model> source_model() const { return model_in(folder_ / "source/model"); }

  TemporaryFolder folder_;
  RunConfig source_;
};

TEST_P(Init, SizesAndTokenizerAreTheModels) {
  RunConfig config = load("tuned");
  ModelConfig model = read_model_config(folder_ / "source/model");
  FieldList a, b;
  list_fields(a, config.model);
  list_fields(b, model);
  EXPECT_EQ(a.to_json(), b.to_json());
  EXPECT_EQ(config.data.tokenizer, (folder_ / "source/model/tokenizer.json").string());
  // A model folder says the same as the run folder that it is in.
  RunConfig direct = load("tuned", {"init=" + (folder_ / "source/model").string()});
  EXPECT_EQ(first_difference(direct, config), "init");
}

TEST_P(Init, GivenValuesMayRepeatTheModelButNotContradictIt) {
  EXPECT_NO_THROW(load("tuned", {"model.dim=32", fmt::format("model.arch={}", arch_name(GetParam()))}));
  std::string message = message_of<InputError>([&] { load("tuned", {"model.dim=64"}); });
  EXPECT_NE(message.find("'model.dim'"), std::string::npos) << message;
  EXPECT_NE(message.find("32"), std::string::npos) << message;
  // A default that is written down is given too.
  EXPECT_THROW(load("tuned", {"model.n_encoder_layers=8"}), InputError);
  EXPECT_THROW(load("tuned", {"model.vocab_size=5000"}), InputError);
  RunConfig longer = load("tuned", {"model.max_seq_len=96", "model.max_blocks=5"});
  EXPECT_EQ(longer.model.max_seq_len, 96);
  EXPECT_EQ(longer.model.max_blocks, 5);
}

TEST_P(Init, AnotherTokenizerIsRefused) {
  Tokenizer own = Tokenizer::load(folder_ / "source/model/tokenizer.json");
  put_file(folder_ / "same.json", own.json());
  put_file(folder_ / "other.json", with_special_tokens(own, std::vector<std::string>{"<other>"}).json());
  EXPECT_NO_THROW(load("tuned", {"data.tokenizer=" + (folder_ / "same.json").string()}));
  std::string message =
      message_of<InputError>([&] { load("tuned", {"data.tokenizer=" + (folder_ / "other.json").string()}); });
  EXPECT_NE(message.find("data.tokenizer"), std::string::npos) << message;
}

TEST_P(Init, ThereMustBeAModel) {
  EXPECT_THROW(load("tuned", {"init=" + (folder_ / "nothing").string()}), InputError);
  EXPECT_THROW(load("tuned", {"init=" + folder_.path().string()}), InputError);
}

// The first validation is that of step 1, whose learning rate is 0: it sees the inherited parameters, bit for bit.
TEST_P(Init, BeginsWithTheBitsOfTheModel) {
  RunConfig config = load("tuned");
  std::unique_ptr<Model> source = source_model();
  TrainHooks hooks = quiet_hooks();
  int seen = 0;
  std::vector<double> losses;
  hooks.validate = [&](Model& model, Tape& tape, const HeldOut& rows) {
    if (seen++ == 0) {
      EXPECT_TRUE(test::same_parameters(model.parameters(), source->parameters()));
      losses.push_back(test::plain_score(*source, tape, rows).loss);
      losses.push_back(test::plain_score(model, tape, rows).loss);
    }
    return test::plain_score(model, tape, rows);
  };
  config.precision = PrecisionChoice::float32;
  run(config, hooks);
  ASSERT_EQ(losses.size(), 2u);
  EXPECT_EQ(losses[0], losses[1]);
  EXPECT_GE(seen, 3);
  EXPECT_FALSE(test::same_parameters(model_in(folder_ / "tuned/model")->parameters(), source->parameters()));
}

TEST_P(Init, TheFolderSaysWhereItBegan) {
  RunConfig config = load("tuned", {"data.add_tokens=<tool>,<note>"});
  run(config);
  Json origin = read_json(folder_ / "tuned/origin.json");
  EXPECT_EQ(origin["model"], (folder_ / "source/model").string());
  EXPECT_EQ(origin["weights"].get<std::string>().size(), 16u);
  EXPECT_EQ(origin["tokenizer"], Tokenizer::load(folder_ / "source/model/tokenizer.json").hash());
  EXPECT_EQ(origin["added_tokens"], (Json{"<tool>", "<note>"}));
  EXPECT_EQ(origin["inherited_rows"], source_model()->config().vocab_size);
  EXPECT_FALSE(fs::exists(folder_ / "source/origin.json"));
}

// A run that was begun goes on without the model that it began with, and with it.
TEST_P(Init, GoesOnWithoutItsModel) {
  RunConfig whole = load("whole", {"data.add_tokens=<tool>"});
  run(whole);
  TrainHooks stop = quiet_hooks();
  int64_t steps = 0;
  stop.progress = [&](const TrainProgress& p) { steps = p.step; };
  stop.should_stop = [&] { return steps >= 1; };
  EXPECT_EQ(run(load("tuned", {"data.add_tokens=<tool>"}), stop).end, TrainResult::End::stopped);
  fs::rename(folder_ / "source", folder_ / "moved");
  RunConfig again = load("tuned", {"data.add_tokens=<tool>"});
  EXPECT_EQ(run(again).end, TrainResult::End::finished);
  EXPECT_TRUE(test::model_bytes(again) == test::model_bytes(whole));
  EXPECT_THROW(load("new"), InputError);
}

TEST_P(Init, NewTokensGetFreshRowsAndTheRestStays) {
  RunConfig config = load("tuned", {"data.add_tokens=<tool>,<note>,<s>"});  // <s> is there already
  std::unique_ptr<Model> source = source_model();
  int64_t rows = source->config().vocab_size;
  EXPECT_EQ(config.model.vocab_size, rows + 2);
  Tokenizer before = Tokenizer::load(folder_ / "source/model/tokenizer.json");
  Tokenizer after = with_special_tokens(before, config.data.add_tokens);
  auto extended = make_model(config.model, Precision::float32(), ParameterStore::Gradients::none, "test");
  Origin origin = begin_with(folder_ / "source/model", after, *extended, 5);
  EXPECT_EQ(origin.added_tokens, (std::vector<std::string>{"<tool>", "<note>"}));
  auto fresh = make_model(config.model, Precision::float32(), ParameterStore::Gradients::none, "test");
  fresh->parameters().initialise(5);
  for (const Parameter& p : extended->parameters().all()) {
    std::vector<float> now = test::values(p.master());
    std::vector<float> old = test::values(source->parameters().find(p.name())->master());
    EXPECT_TRUE(std::equal(old.begin(), old.end(), now.begin())) << p.name();
    if (p.group() != MupGroup::embedding) continue;
    int64_t width = p.master().row_size();
    ASSERT_EQ(now.size(), static_cast<size_t>((rows + 2) * width));
    std::vector<float> drawn = test::values(fresh->parameters().find(p.name())->master());
    EXPECT_TRUE(std::equal(now.begin() + rows * width, now.end(), drawn.begin() + rows * width));
  }
}

INSTANTIATE_TEST_SUITE_P(Archs, Init,
                         testing::Values(Arch::decoder, Arch::double_decoder, Arch::yoco, Arch::block_transformer),
                         [](const auto& arch) { return std::string(arch_name(arch.param)); });

// Fresh rows are spread as the embedding's: uniform within +-sqrt(2) sqrt(6 / (V + d)), whatever the model learnt.
TEST(InitRows, AreDrawnAsTheEmbeddingIs) {
  TemporaryFolder folder;
  RunConfig config = small_run(folder / "run");
  config.steps = 2;
  run(config);
  Tokenizer before = Tokenizer::load(folder / "run/model/tokenizer.json");
  std::vector<std::string> tokens;
  for (int i = 0; i < 400; ++i) tokens.push_back(fmt::format("<new {}>", i));
  Tokenizer after = with_special_tokens(before, tokens);
  ModelConfig model = read_model_config(folder / "run/model");
  model.vocab_size = after.vocab_size();
  auto extended = make_model(model, Precision::float32(), ParameterStore::Gradients::none, "test");
  begin_with(folder / "run/model", after, *extended, 1);
  const Parameter& table = *extended->parameters().find("embedding.weight");
  double bound = std::sqrt(2.0) * std::sqrt(6.0 / static_cast<double>(model.vocab_size + model.dim));
  double sum = 0, squares = 0, largest = 0;
  auto n = static_cast<double>(400 * model.dim);
  for (int64_t r = before.vocab_size(); r < after.vocab_size(); ++r) {
    for (int64_t c = 0; c < model.dim; ++c) {
      double v = load_element(table.master(), r, c);
      sum += v;
      squares += v * v;
      largest = std::max(largest, std::fabs(v));
    }
  }
  double deviation = bound / std::sqrt(3.0);
  EXPECT_LE(largest, bound);
  EXPECT_GT(largest, 0.99 * bound);
  EXPECT_NEAR(sum / n, 0, 5 * deviation / std::sqrt(n));
  EXPECT_NEAR(std::sqrt(squares / n), deviation, 0.02 * deviation);
}

// Rows behind the tokenizer's ids belong to nobody: a new token gets a fresh one, the others stay.
TEST(InitRows, PaddingRowsBecomeTokens) {
  TemporaryFolder folder;
  RunConfig config = small_run(folder / "run");
  config.steps = 2;
  config.model.vocab_size = 310;
  run(config);
  Tokenizer before = Tokenizer::load(folder / "run/model/tokenizer.json");
  ASSERT_EQ(before.vocab_size(), 300);
  Tokenizer after = with_special_tokens(before, std::vector<std::string>{"<a>", "<b>"});
  auto source = model_in(folder / "run/model"), extended = model_in(folder / "run/model");
  Origin origin = begin_with(folder / "run/model", after, *extended, 7);
  EXPECT_EQ(origin.inherited_rows, 308);
  auto fresh = make_model(source->config(), Precision::float32(), ParameterStore::Gradients::none, "test");
  fresh->parameters().initialise(7);
  auto row = [](Model& model, int64_t r) {
    return test::values(model.parameters().find("embedding.weight")->master().slice_rows(r, r + 1));
  };
  for (int64_t r = 0; r < 310; ++r) {
    bool is_new = r == 300 || r == 301;
    EXPECT_EQ(row(*extended, r) == row(*source, r), !is_new) << r;
    EXPECT_EQ(row(*extended, r) == row(*fresh, r), is_new) << r;
  }
}

TEST(InitRows, AModelOfOtherShapesIsRefused) {
  TemporaryFolder folder;
  RunConfig config = small_run(folder / "run");
  config.steps = 1;
  run(config);
  Tokenizer tokenizer = Tokenizer::load(folder / "run/model/tokenizer.json");
  ModelConfig wider = read_model_config(folder / "run/model");
  wider.mlp_dim = 2 * wider.mlp_size();
  auto model = make_model(wider, Precision::float32(), ParameterStore::Gradients::none, "test");
  EXPECT_THROW(begin_with(folder / "run/model", tokenizer, *model, 1), InputError);
}

}  // namespace
}  // namespace tandem
