// Measured choices of matrix products: what is listed, what a run keeps, and that it obeys what it has kept.
#include "train/product_choices.h"

#include <gtest/gtest.h>

#include <atomic>

#include "base/error.h"
#include "base/temporary_folder.h"
#include "dist/thread_ranks.h"
#include "train/measure_products.h"
#include "train/memory.h"
#include "train/training_check.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;
using test::Bench;
using test::message_of;
using test::model_bytes;
using test::quiet_hooks;
using test::small_run;
using test::TemporaryFolder;

ProductChoices some_choices() {
  Product form{
      .m = 48, .n = 32, .k = 24, .a_row_stride = 24, .b_row_stride = 1, .b_column_stride = 24, .c_row_stride = 32};
  ProductChoices choices{
      .surroundings = {.isa = "avx512", .precision = "float32", .processor = "one", .matrix_library = "oneDNN 2"},
      .list = {}};
  choices.list.push_back({.form = form, .times = {.own = 0.25, .onednn = 0.5}, .by = Gemm::By::own});
  form.operands = form.result = DType::bf16;
  form.accumulate = true;
  choices.list.push_back({.form = form, .times = {.own = 0, .onednn = 0.125}, .by = Gemm::By::onednn});
  return choices;
}

TEST(ProductChoices, AreReadAsTheyWereWritten) {
  ProductChoices wrote = some_choices();
  ProductChoices read = product_choices_from_json(parse_json(to_json(wrote).dump(), "file"), "file");
  EXPECT_EQ(read.surroundings, wrote.surroundings);
  ASSERT_EQ(read.list.size(), wrote.list.size());
  for (size_t i = 0; i < read.list.size(); ++i) {
    EXPECT_EQ(read.list[i].form, wrote.list[i].form);
    EXPECT_EQ(read.list[i].by, wrote.list[i].by);
    EXPECT_EQ(read.list[i].times.own, wrote.list[i].times.own);
    EXPECT_EQ(read.list[i].times.onednn, wrote.list[i].times.onednn);
    EXPECT_TRUE(read.has(wrote.list[i].form));
  }
  Product other = wrote.list[0].form;
  other.c_row_stride = 64;
  EXPECT_FALSE(read.has(other));
}

TEST(ProductChoices, RefuseWhatWasNotWrittenSo) {
  auto refusal = [](const char* key, const Json& value) {
    Json json = Json::parse(to_json(some_choices()).dump());
    json["products"][1][key] = value;
    return message_of<InputError>([&] { product_choices_from_json(json, "F"); });
  };
  EXPECT_EQ(refusal("by", "MKL"),
            "bad 'by': product 1 of F: got 'MKL', expected tandem or oneDNN; without this file, products are measured "
            "again");
  EXPECT_EQ(refusal("m", 0),
            "bad 'm': product 1 of F: got 0, expected 1 to 2^40; without this file, products are measured again");
  EXPECT_TRUE(refusal("c_row_stride", int64_t{1} << 41).starts_with("bad 'c_row_stride'"));
  EXPECT_TRUE(refusal("operands", "int8").starts_with("bad 'operands'"));
  EXPECT_TRUE(refusal("onednn_seconds", -1).starts_with("bad 'onednn_seconds'"));
  EXPECT_FALSE(refusal("accumulate", 1).empty());
  EXPECT_FALSE(refusal("k", "24").empty());
  Json json = Json::parse(to_json(some_choices()).dump());
  json["products"].push_back(json["products"][0]);
  EXPECT_TRUE(message_of<InputError>([&] { product_choices_from_json(json, "F"); }).starts_with("bad 'products'"));
  json["products"] = 3;
  EXPECT_TRUE(message_of<InputError>([&] { product_choices_from_json(json, "F"); }).starts_with("bad 'products'"));
}

// Each matrix of a layer has one product forward and two backward; recomputed layers have the first one twice.
TEST(ProductsOfAPass, AreThoseOfItsWeights) {
  ModelConfig config = test::small_model(Arch::decoder);
  config.n_decoder_layers = 3;
  Bench bench(config);
  Rng rng(1, 0);
  Batch rows = random_rows(config, Objective::text, 2, rng);
  auto count = [&](Recompute recompute, Tape::Mode mode, bool turned_b, bool turned_a) {
    int64_t times = 0;
    for (const PassProduct& p : products_of_pass(bench.ctx, *bench.model, recompute, rows, mode)) {
      const bool head = p.form.n == config.vocab_size || p.form.m == config.vocab_size || p.form.k == config.vocab_size;
      if (!head && (p.form.b_row_stride == 1) == turned_b && (p.form.a_row_stride == 1) == turned_a) times += p.times;
    }
    return times;
  };
  int64_t matrices = 0;
  for (const Parameter& p : bench.model->parameters().all()) {
    matrices += ParameterStore::packs(p) && p.shape()[0] != config.vocab_size;
  }
  ASSERT_GE(matrices, 3 * 4);
  EXPECT_EQ(count(Recompute::none, Tape::Mode::record, true, false), matrices);
  EXPECT_EQ(count(Recompute::none, Tape::Mode::record, false, false), matrices);
  EXPECT_EQ(count(Recompute::none, Tape::Mode::record, false, true), matrices);
  EXPECT_EQ(count(Recompute::layers, Tape::Mode::record, true, false), 2 * matrices);
  EXPECT_EQ(count(Recompute::none, Tape::Mode::no_grad, true, false), matrices);
  EXPECT_EQ(count(Recompute::none, Tape::Mode::no_grad, false, true), 0);
}

TEST(ProductsOfAPass, AKernelThatIsNotThereIsRefused) {
  Context ctx(1, Isa::avx2);
  ProductChoices choices = some_choices();
  choices.list[1].by = Gemm::By::own;
  std::string message = message_of<InputError>([&] { ChosenProducts chosen(ctx.gemm(), choices, "F"); });
  EXPECT_TRUE(message.starts_with("no such kernel for a matrix product on this instruction set: F")) << message;
  EXPECT_EQ(ctx.gemm().by(choices.list[0].form), Gemm::By::onednn) << "none is taken where one is refused";
}

class MeasuredRun : public testing::Test {
 protected:
  RunConfig config_in(const std::string& name) const {
    RunConfig config = small_run(folder / name);
    config.products = ProductsBy::measurement;
    config.data.cache = (folder / "tokens").string();
    return config;
  }
  std::string file_of(const RunConfig& config) const { return read_file(fs::path(config.output) / "products.json"); }
  ProductChoices choices_of(const RunConfig& config) const {
    return product_choices_from_json(parse_json(file_of(config), "F"), "F");
  }
  // Everything to the side that the rule does not choose.
  void turn_round(const RunConfig& config) const {
    ProductChoices choices = choices_of(config);
    for (ProductChoice& c : choices.list) {
      c.by = own_kernels(Context(1).isa(), c.form) ? Gemm::By::onednn : Gemm::By::own;
    }
    write_file_atomically(fs::path(config.output) / "products.json", to_json(choices).dump(2) + "\n");
  }
  // While it trains, products are computed as its folder says, and behind it by the rule again.
  void run(const RunConfig& config, int64_t stop_at = 0) const {
    Context ctx(1);
    TrainHooks hooks = quiet_hooks();
    int64_t seen = 0;
    hooks.progress = [&](const TrainProgress& p) {
      seen = p.step;
      for (const ProductChoice& c : choices_of(config).list) EXPECT_EQ(ctx.gemm().by(c.form), c.by);
    };
    if (stop_at > 0) hooks.should_stop = [&] { return seen >= stop_at; };
    train(ctx, config, hooks);
    EXPECT_GT(seen, 0);
    for (const ProductChoice& c : choices_of(config).list) {
      EXPECT_EQ(ctx.gemm().by(c.form) == Gemm::By::own, own_kernels(ctx.isa(), c.form));
    }
  }
  TemporaryFolder folder;
};

TEST_F(MeasuredRun, KeepsItsChoicesAndObeysThem) {
  RunConfig first = config_in("first"), second = config_in("second");
  run(first, 4);
  EXPECT_FALSE(choices_of(first).list.empty());
  turn_round(first);
  std::string turned = file_of(first);
  fs::copy(first.output, second.output, fs::copy_options::recursive);
  run(first);
  run(second);
  EXPECT_EQ(file_of(first), turned) << "nothing is measured twice";
  EXPECT_TRUE(model_bytes(first) == model_bytes(second));
}

TEST_F(MeasuredRun, IsAnotherRunThanOneByTheRule) {
  RunConfig config = config_in("run");
  run(config, 2);
  config.products = ProductsBy::rule;
  std::string message = message_of<InputError>([&] { run(config); });
  EXPECT_NE(message.find("'products' differs"), std::string::npos) << message;
}

TEST_F(MeasuredRun, MeasuresAgainElsewhere) {
  RunConfig config = config_in("run");
  run(config, 2);
  ProductChoices choices = choices_of(config);
  choices.surroundings.processor = "another";
  choices.list.resize(1);
  write_file_atomically(fs::path(config.output) / "products.json", to_json(choices).dump());
  run(config);
  ProductChoices now = choices_of(config);
  EXPECT_NE(now.surroundings.processor, "another");
  EXPECT_GT(now.list.size(), 1u);
}

TEST_F(MeasuredRun, RanksDoAsRankZeroHasMeasured) {
  RunConfig config = config_in("ranks");
  config.precision = PrecisionChoice::float32;
  auto on_two_ranks = [&](int64_t steps) {
    config.steps = steps;
    test::ThreadRanks ranks(2);
    std::atomic<int64_t> obeyed = 0, ignored = 0;
    ranks.run([&](Communicator& comm) {
      Context ctx(1);
      TrainHooks hooks = quiet_hooks();
      hooks.ranks = &comm;
      hooks.should_stop = [&] {
        for (const ProductChoice& c : choices_of(config).list) ++(ctx.gemm().by(c.form) == c.by ? obeyed : ignored);
        return false;
      };
      EXPECT_EQ(train(ctx, config, hooks).steps, steps);  // which checks that parameters are the same on all
    });
    EXPECT_GE(obeyed, 2 * static_cast<int64_t>(choices_of(config).list.size())) << "both ranks are asked";
    EXPECT_EQ(ignored, 0);
  };
  on_two_ranks(4);
  EXPECT_FALSE(choices_of(config).list.empty());
  turn_round(config);
  std::string turned = file_of(config);
  on_two_ranks(8);
  EXPECT_EQ(file_of(config), turned);
}

}  // namespace
}  // namespace tandem
