#include "eval/needle.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "arch/model_check.h"
#include "base/error.h"
#include "base/json.h"
#include "text/bpe_trainer.h"

namespace tandem::test {
namespace {

std::string haystack_text() {
  std::string text;
  for (int i = 0; i < 400; ++i) text += fmt::format("The {} dog sleeps in barn {}. ", i % 7 ? "old" : "young", i);
  return text;
}

Tokenizer small_tokenizer() {
  TrainBpeOptions options;
  options.vocab_size = 400;
  return Tokenizer::parse(
      train_bpe({haystack_text() + "What is the secret code of Paris? 0 1 2 3 4 5 6 7 8 9"}, options), "test");
}

class NeedleQuestions : public testing::Test {
 protected:
  std::string text_of(const std::vector<int32_t>& ids) { return tokenizer_.decode(ids); }
  Tokenizer tokenizer_ = small_tokenizer();
  int32_t bos_ = *tokenizer_.token_to_id("<s>");
  std::string text_ = haystack_text();
};

TEST_F(NeedleQuestions, AreAsLongAsAskedAndHideOneNeedleAtItsDepth) {
  NeedleMaker maker(tokenizer_, bos_, text_, {}, 400);
  for (int64_t length : {130, 257, 400}) {
    double previous = -1;
    for (double depth : {0.0, 0.25, 0.5, 0.75, 1.0}) {
      NeedleTrial trial = maker.make(length, depth, 3);
      ASSERT_EQ(trial.codes.size(), 8u);
      ASSERT_EQ(trial.continuations.size(), 8u);
      const std::vector<int32_t>& context = trial.continuations[0].context;
      EXPECT_EQ(context[0], bos_);
      size_t longest = 0;
      for (size_t i = 0; i < 8; ++i) {
        EXPECT_EQ(trial.continuations[i].context, context);
        EXPECT_EQ(text_of(trial.continuations[i].tokens), trial.codes[i]);
        EXPECT_EQ(std::count(trial.codes.begin(), trial.codes.end(), trial.codes[i]), 1);
        longest = std::max(longest, trial.continuations[i].tokens.size());
      }
      EXPECT_EQ(static_cast<int64_t>(context.size() + longest), length);
      std::string all = tokenizer_.decode(context, true);
      size_t needle = all.find(" is" + trial.codes[0] + ".");
      ASSERT_NE(needle, std::string::npos);
      EXPECT_EQ(all.find(" is" + trial.codes[0] + ".", needle + 1), std::string::npos);
      for (size_t i = 1; i < 8; ++i) EXPECT_EQ(all.find(trial.codes[i]), std::string::npos);
      size_t begin = all.rfind("The secret code of", needle), question = all.find("\n\nWhat is the secret code of");
      ASSERT_NE(question, std::string::npos);
      double hay = static_cast<double>(question) - static_cast<double>(needle - begin + trial.codes[0].size() + 5);
      double at = static_cast<double>(begin) / hay;
      // Sentences are about 35 bytes long.
      EXPECT_NEAR(at, depth, 40 / hay + 0.02) << length;
      EXPECT_GE(at, previous);
      previous = at;
      bool inside = depth > 0 && depth < 1;
      EXPECT_TRUE(!inside || all[begin - 2] == '.') << all;
    }
  }
}

TEST_F(NeedleQuestions, DependOnNothingButTheirSeedAndPlace) {
  NeedleMaker maker(tokenizer_, bos_, text_, {}, 300), again(tokenizer_, bos_, text_, {}, 300);
  NeedleMaker other(tokenizer_, bos_, text_, {.seed = 2}, 300);
  again.make(200, 0.5, 0);
  auto context = [](const NeedleTrial& trial) { return trial.continuations[0].context; };
  EXPECT_EQ(context(maker.make(300, 0.25, 1)), context(again.make(300, 0.25, 1)));
  EXPECT_NE(context(maker.make(300, 0.25, 1)), context(maker.make(300, 0.25, 2)));
  EXPECT_NE(maker.make(300, 0.25, 1).codes, maker.make(300, 0.5, 1).codes);
  EXPECT_NE(maker.make(300, 0.25, 1).codes, other.make(300, 0.25, 1).codes);
}

TEST_F(NeedleQuestions, NeedRoomAndText) {
  NeedleMaker maker(tokenizer_, bos_, text_, {}, 300);
  EXPECT_THROW(maker.make(20, 0.5, 0), InputError);
  EXPECT_THROW(NeedleMaker(tokenizer_, bos_, "A short text.", {}, 300), InputError);
}

TEST_F(NeedleQuestions, LengthsFollowTheRows) {
  EXPECT_EQ(needle_lengths(256), (std::vector<int64_t>{128, 256}));
  EXPECT_EQ(needle_lengths(100), (std::vector<int64_t>{100}));
  EXPECT_EQ(needle_lengths(2048), (std::vector<int64_t>{256, 512, 1024, 2048}));
}

class Needle : public testing::TestWithParam<Arch> {
 protected:
  Needle() {
    config_.vocab_size = tokenizer_.vocab_size();
    config_.max_seq_len = 200;
    model_ = random_model(config_, Precision::float32());
    model_->parameters().pack(ctx_, kernels::WeightFormat::f32);
  }
  Subject subject() { return {*model_, tape_, tokenizer_, bos_, -1}; }

  Tokenizer tokenizer_ = small_tokenizer();
  int32_t bos_ = *tokenizer_.token_to_id("<s>");
  ModelConfig config_ = small_config(GetParam());
  Context ctx_{1};
  std::unique_ptr<Model> model_;
  Tape tape_{ctx_, Precision::float32(), Tape::Mode::no_grad};
};

TEST_P(Needle, RanksTheCodesOfEveryCell) {
  NeedleOptions options{.lengths = {130, 400, 200}, .depths = {0, 1}, .trials = 3};
  std::vector<OrderedJson> lines;
  std::vector<int64_t> progress;
  NeedleResult result = evaluate_needle(subject(), haystack_text(), options,
                                        {.progress =
                                             [&](int64_t done, int64_t total) {
                                               progress.push_back(done);
                                               EXPECT_EQ(total, 12);
                                             },
                                         .item = [&](const OrderedJson& line) { lines.push_back(line); }});
  EXPECT_EQ(result.lengths, (std::vector<int64_t>{130, 200}));
  EXPECT_EQ(result.too_long, (std::vector<int64_t>{400}));
  ASSERT_EQ(result.cells.size(), 4u);
  ASSERT_EQ(lines.size(), 12u);
  EXPECT_FALSE(progress.empty());
  EXPECT_TRUE(std::is_sorted(progress.begin(), progress.end()));
  NeedleMaker maker(tokenizer_, bos_, haystack_text(), options, 200);
  for (size_t i = 0; i < lines.size(); ++i) {
    const NeedleCell& cell = result.cells[i / 3];
    NeedleTrial trial = maker.make(cell.length, cell.depth, static_cast<int64_t>(i % 3));
    int64_t rank = 1;
    std::vector<ContinuationScore> scores = score_continuations(*model_, tape_, trial.continuations);
    for (size_t c = 0; c < scores.size(); ++c) {
      EXPECT_EQ(lines[i]["candidates"][c]["log_probability"], scores[c].log_probability);
      if (c > 0) rank += scores[c].log_probability >= scores[0].log_probability;
    }
    EXPECT_EQ(lines[i]["rank"], rank);
    EXPECT_EQ(lines[i]["correct"], rank == 1);
  }
  double ranks = 0;
  int64_t right = 0;
  for (const OrderedJson& line : lines) {
    ranks += line["rank"].get<double>();
    right += line["correct"].get<bool>();
  }
  EXPECT_EQ(result.choice().hits, right);
  EXPECT_EQ(result.choice().of, 12);
  double mean = 0;
  for (const NeedleCell& cell : result.cells) mean += cell.mean_rank() / 4;
  EXPECT_NEAR(mean, ranks / 12, 1e-9);
  OrderedJson json = to_json(result);
  EXPECT_EQ(json["cells"].size(), 4u);
  EXPECT_EQ(json["chance"], 0.125);
  options.lengths = {400, 500};
  EXPECT_THROW(evaluate_needle(subject(), haystack_text(), options), InputError);
}

INSTANTIATE_TEST_SUITE_P(Archs, Needle, testing::Values(Arch::decoder, Arch::double_decoder, Arch::encoder_decoder),
                         [](const auto& arch) { return std::string(arch_name(arch.param)); });

}  // namespace
}  // namespace tandem::test
