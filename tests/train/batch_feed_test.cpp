// Batches that are made ahead are those that would have been made one step after the other.
#include "train/batch_feed.h"

#include <gtest/gtest.h>

#include <atomic>

#include "base/error.h"
#include "base/temporary_folder.h"
#include "data/permutation.h"
#include "dist/thread_ranks.h"
#include "infer/allocations.h"
#include "text/batch_check.h"
#include "train/training_check.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;
using test::expect_same;
using test::message_of;
using test::put_file;
using test::quiet_hooks;
using test::TemporaryFolder;

constexpr int64_t kLength = 24;
constexpr PackRule kRule{.length = kLength, .bos = 1, .eos = 2};

// Documents of random tokens. One of them may be impossible to read, as in a shard on a disk that fails.
class Documents : public DocumentStore {
 public:
  explicit Documents(int64_t count) {
    Rng rng(5, 0);
    for (int64_t i = 0; i < count; ++i) {
      std::vector<uint32_t>& document = documents_.emplace_back(3 + rng.below(40));
      for (uint32_t& id : document) id = 3 + rng.below(30);
    }
  }
  int64_t documents() const override { return static_cast<int64_t>(documents_.size()); }
  int64_t tokens() const override { return 1000; }
  std::span<const uint32_t> document(int64_t index) const override {
    ++reads;
    if (index == broken) throw InputError({.what = "shard cannot be read", .where = "train-00007.tokens"});
    return documents_[static_cast<size_t>(index)];
  }
  std::string hash() const override { return "0123456789abcdef"; }

  mutable std::atomic<int64_t> reads{0};
  int64_t broken = -1;

 private:
  std::vector<std::vector<uint32_t>> documents_;
};

std::unique_ptr<Model> model_of(Arch arch) {
  ModelConfig config = test::small_model(arch);
  config.bos_id = 1;
  config.eos_id = 2;
  config.sentinel_start = 33;
  config.n_sentinels = 8;
  return make_model(config, Precision::float32(), ParameterStore::Gradients::none, "test");
}

// The batches of a step, made when they are needed.
std::vector<Batch> made_now(RowStream& rows, const Model& model, const FeedPlan& plan, int64_t step) {
  std::vector<Batch> batches;
  for (int64_t micro = 0; micro < plan.grad_accum; ++micro) {
    Batch packed = rows.next_batch(plan.micro_batch);
    if (!plan.share.has_pass(micro)) continue;
    packed.objective = plan.objective;
    Batch prepared = packed;
    Rng rng(plan.seed, static_cast<uint64_t>(step * plan.grad_accum + micro));
    model.prepare(prepared, rng);
    int64_t first = plan.share.first_row;
    batches.push_back(rows_of_prepared(model, packed, prepared, first, first + plan.share.rows));
  }
  return batches;
}

void expect_step(BatchFeed& feed, RowStream& rows, const Model& model, const FeedPlan& plan, int64_t step) {
  std::vector<Batch> expected = made_now(rows, model, plan, step);
  std::span<const Batch> got = feed.take(step);
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    SCOPED_TRACE(fmt::format("step {}, batch {}", step, i));
    expect_same(got[i], expected[i]);
  }
  EXPECT_EQ(feed.rows().state(), rows.state()) << step;
}

struct FeedCase {
  Arch arch = Arch::double_decoder;
  Objective objective = Objective::text;
  int ranks = 1;
};

class FeedOf : public testing::TestWithParam<FeedCase> {};

TEST_P(FeedOf, GivesWhatIsMadeStepByStep) {
  Documents documents(57);
  std::unique_ptr<Model> model = model_of(GetParam().arch);
  for (int rank = 0; rank < GetParam().ranks; ++rank) {
    FeedPlan plan{.micro_batch = 4, .grad_accum = 3, .seed = 8, .objective = GetParam().objective};
    plan.share = share_of_rows(4, 3, rank, GetParam().ranks);
    RowStream rows(documents, kRule, 3);
    BatchFeed feed(rows, *model, plan);
    for (int64_t step = 0; step < 9; ++step) expect_step(feed, rows, *model, plan, step);
  }
}

// A checkpoint holds the place behind the steps done, whatever was made ahead.
TEST_P(FeedOf, GoesOnAtTheStoredPlaceAndBackToAnEarlierStep) {
  Documents documents(57);
  std::unique_ptr<Model> model = model_of(GetParam().arch);
  FeedPlan plan{.micro_batch = 2, .grad_accum = 2, .seed = 8, .objective = GetParam().objective};
  plan.share = share_of_rows(2, 2, 0, 1);
  RowStream rows(documents, kRule, 3);
  BatchFeed feed(rows, *model, plan);
  for (int64_t step = 0; step < 5; ++step) expect_step(feed, rows, *model, plan, step);
  Json state = Json::parse(feed.rows().state().dump());
  // Behind a divergence: an earlier step, with the rows that follow.
  for (int64_t step : {2, 3, 4, 1, 2}) expect_step(feed, rows, *model, plan, step);

  RowStream again(documents, kRule, 3);
  BatchFeed resumed(again, *model, plan);
  again.restore(state, "checkpoint");
  resumed.restore(state, "checkpoint");
  EXPECT_EQ(resumed.rows().state(), again.state());
  for (int64_t step = 5; step < 8; ++step) expect_step(resumed, again, *model, plan, step);
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, FeedOf,
    testing::Values(FeedCase{}, FeedCase{.objective = Objective::prefix_lm}, FeedCase{.ranks = 2}, FeedCase{.ranks = 6},
                    FeedCase{.arch = Arch::decoder}, FeedCase{.arch = Arch::block_transformer},
                    FeedCase{.arch = Arch::encoder_decoder, .objective = Objective::span_corruption, .ranks = 6}),
    [](const auto& kind) { return fmt::format("{}{}", arch_name(kind.param.arch), kind.index); });

TEST(BatchFeed, WhatCannotBeReadIsSaidAtTheStepThatNeedsIt) {
  std::unique_ptr<Model> model = model_of(Arch::double_decoder);
  FeedPlan plan{.micro_batch = 2, .total_steps = 100};
  plan.share = share_of_rows(2, 1, 0, 1);
  Documents documents(57);
  // The document in which the sixth step's rows end.
  RowStream whole(documents, kRule, 3);
  whole.next_batch(6 * 2);
  documents.broken = Permutation(57, 3, 0)(static_cast<uint64_t>(whole.cursor().document));
  RowStream rows(documents, kRule, 3);
  int64_t good = 0;
  std::string expected = message_of<InputError>([&] {
    for (;; ++good) rows.next_batch(2);
  });
  ASSERT_GT(good, 3);
  RowStream before(documents, kRule, 3);
  BatchFeed feed(before, *model, plan);
  for (int64_t step = 0; step < good; ++step) expect_step(feed, before, *model, plan, step);
  OrderedJson state = feed.rows().state();
  for (int i = 0; i < 2; ++i) EXPECT_EQ(message_of<InputError>([&] { feed.take(good); }), expected);
  EXPECT_EQ(feed.rows().state(), state);
  // One that nobody asks for is not said at all.
  BatchFeed stopped(RowStream(documents, kRule, 3), *model, plan);
  for (int64_t step = 0; step < good; ++step) stopped.take(step);
}

TEST(BatchFeed, RowsOfOneShapeUseTheSameMemory) {
  Documents documents(57);
  RowStream rows(documents, kRule, 3);
  Batch batch;
  rows.next_batch(4, batch);
  int64_t before = test::allocations();
  for (int i = 0; i < 5; ++i) rows.next_batch(4, batch);
  EXPECT_EQ(test::allocations(), before);
}

TEST(BatchFeed, MakesNothingBehindTheEnd) {
  std::unique_ptr<Model> model = model_of(Arch::double_decoder);
  FeedPlan plan{.total_steps = 3};
  Documents documents(57);
  RowStream rows(documents, kRule, 3);
  rows.next_batch(3);
  const int64_t needed = documents.reads;
  documents.reads = 0;
  {
    BatchFeed feed(RowStream(documents, kRule, 3), *model, plan);
    for (int64_t step = 0; step < 3; ++step) feed.take(step);
    EXPECT_GE(feed.make_seconds(), 0);
    EXPECT_GE(feed.wait_seconds(), 0);
  }
  EXPECT_EQ(documents.reads, needed);
}

// Two sources, of which the lighter one comes late and has no conversation that fits into a row.
class LateFailure : public testing::Test {
 protected:
  LateFailure() {
    std::string shorter, longer;
    Rng rng(4, 0);
    for (int i = 0; i < 60; ++i) {
      std::string noise;  // that no tokenizer makes short
      for (int letter = 0; letter < 400; ++letter) noise += static_cast<char>('a' + rng.below(26));
      shorter += fmt::format("{{\"prompt\": \"What is {}?\", \"response\": \"A number, {}.\"}}\n", i, i);
      longer += fmt::format("{{\"prompt\": \"{}?\", \"response\": \"A number, {}.\"}}\n", noise, i);
    }
    put_file(folder / "short.jsonl", shorter);
    put_file(folder / "long.jsonl", longer);
  }
  RunConfig config_in(const std::string& name) const {
    RunConfig config = test::small_run(folder / name);
    config.data.sources = {(folder / "short.jsonl").string(), (folder / "long.jsonl").string()};
    config.data.records = Records::conversations;
    config.data.weights = {1, 0.02};
    config.data.cache = (folder / "tokens").string();
    config.steps = 100;
    config.checkpoint_every = 2;
    config.eval_every = 0;
    return config;
  }
  // Steps done before the run failed.
  static int64_t fails(const RunConfig& config, int size) {
    std::atomic<int64_t> done{0}, failed{0};
    test::ThreadRanks ranks(size);
    auto job = [&](Communicator& comm) {
      Context ctx(1);
      TrainHooks hooks = quiet_hooks();
      hooks.ranks = &comm;
      if (comm.rank() == 0) hooks.progress = [&](const TrainProgress& p) { done = p.step; };
      std::string message = message_of<InputError>([&] { train(ctx, config, hooks); });
      EXPECT_NE(message.find("no conversation fits into a row"), std::string::npos) << message;
      EXPECT_EQ(message.find('\n'), std::string::npos) << message;
      ++failed;
    };
    ranks.run(job);
    EXPECT_EQ(failed, size);
    return done;
  }
  TemporaryFolder folder;
};

TEST_F(LateFailure, EndsTheRunAtTheStepThatNeedsTheRowsAndKeepsItsCheckpoints) {
  int64_t alone = fails(config_in("alone"), 1);
  EXPECT_GT(alone, 2);
  EXPECT_LT(alone, 90);
  EXPECT_TRUE(fs::exists(folder / "alone/checkpoints" / fmt::format("step-{}", alone / 2 * 2) / "DONE"));
  EXPECT_EQ(fails(config_in("alone"), 1), alone);  // going on
  EXPECT_EQ(fails(config_in("two"), 2), alone);
}

}  // namespace
}  // namespace tandem
