#include "eval/recall.h"

#include <gtest/gtest.h>

#include <cmath>

#include "arch/model_check.h"
#include "infer/text_generation.h"
#include "text/bpe_trainer.h"

namespace tandem::test {
namespace {

// Words that occurred often are one token, the others several.
Tokenizer small_tokenizer() {
  TrainBpeOptions options;
  options.vocab_size = 280;
  return Tokenizer::parse(train_bpe({"the key is in the barn the key is in the barn the goat is in the barn"}, options),
                          "test");
}

class Recall : public testing::TestWithParam<Arch> {
 protected:
  Recall() {
    config_.vocab_size = tokenizer_.vocab_size();
    config_.max_seq_len = 64;
    exact_ = random_model(config_, Precision::reference());
    model_ = random_model(config_, Precision::float32());
  }

  struct Naive {
    double log_likelihood = 0;
    bool greedy = true;
  };
  // From a full forward over prompt and choice, the block opening at the prompt's last token.
  Naive naive(const std::string& prompt, const std::string& choice) {
    std::vector<int32_t> ids = encode_prompt(tokenizer_, prompt, bos_);
    std::vector<int32_t> more = tokenizer_.encode(choice);
    size_t first = ids.size();
    ids.insert(ids.end(), more.begin(), more.end());
    Batch batch = one_row(ids);
    batch.boundaries = {static_cast<int32_t>(first - 1)};
    auto logits = logits_of(*exact_, batch, ctx_);
    Naive out;
    for (size_t t = first; t < ids.size(); ++t) {
      const std::vector<double>& row = logits[t - 1];
      double total = 0;
      for (double logit : row) total += std::exp(logit);
      auto id = static_cast<size_t>(ids[t]);
      out.log_likelihood += row[id] - std::log(total);
      out.greedy = out.greedy && row[id] == *std::max_element(row.begin(), row.end());
    }
    return out;
  }

  Tokenizer tokenizer_ = small_tokenizer();
  int32_t bos_ = *tokenizer_.token_to_id("<s>");
  ModelConfig config_ = small_config(GetParam());
  Context ctx_{1};
  std::unique_ptr<Model> exact_, model_;
  Tape tape_{ctx_, Precision::float32(), Tape::Mode::no_grad};
};

// Every choice in turn is called the answer: exactly the likeliest one counts as right.
TEST_P(Recall, TheLikeliestChoiceIsRight) {
  const std::vector<std::string> choices{" barn", " goat", " violin", " zebra crossing"};
  ASSERT_EQ(tokenizer_.encode(" barn").size(), 1u);
  ASSERT_GT(tokenizer_.encode(" violin").size(), 1u);
  for (const char* prompt : {"the key is in the", "the goat", "is"}) {
    std::vector<double> scores;
    for (const std::string& choice : choices) scores.push_back(naive(prompt, choice).log_likelihood);
    size_t best = static_cast<size_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());
    for (size_t i = 0; i < choices.size(); ++i) {
      RecallQuestion question{.prompt = prompt, .answer = choices[i], .choices = choices};
      RecallResult result = evaluate_recall(*model_, tape_, tokenizer_, bos_, {question});
      EXPECT_EQ(result.questions, 1);
      EXPECT_EQ(result.right, i == best ? 1 : 0) << prompt << choices[i];
      EXPECT_EQ(result.greedy, naive(prompt, choices[i]).greedy ? 1 : 0) << prompt << choices[i];
    }
  }
}

TEST_P(Recall, WhatTheModelWritesIsFoundByGreedyDecoding) {
  std::vector<int32_t> prompt = encode_prompt(tokenizer_, "the key", bos_);
  Generator generator(ctx_, *model_);
  GenerationOptions options;
  options.max_tokens = 1;
  std::string written = tokenizer_.id_to_token(generator.run(Prompt::continue_text(prompt), options).ids[0]);
  // Only ids whose text is encoded as themselves can be asked for.
  for (int32_t id = 5; id < config_.vocab_size; ++id) {
    std::string text = tokenizer_.decode(std::vector<int32_t>{id});
    if (tokenizer_.encode(text) != std::vector<int32_t>{id}) continue;
    RecallQuestion question{.prompt = "the key", .answer = text, .choices = {text}};
    RecallResult result = evaluate_recall(*model_, tape_, tokenizer_, bos_, {question});
    EXPECT_EQ(result.greedy, tokenizer_.id_to_token(id) == written ? 1 : 0);
  }
}

TEST_P(Recall, TiesAreWrongAndLongPromptsAreCounted) {
  RecallQuestion tie{.prompt = "the key", .answer = " barn", .choices = {" barn", " key"}};
  auto blank = make_model(config_, Precision::float32(), ParameterStore::Gradients::none, "test");
  // With parameters of zero every token is as likely as any other: one token each, one likelihood.
  ASSERT_EQ(tokenizer_.encode(" key").size(), tokenizer_.encode(" barn").size());
  EXPECT_EQ(evaluate_recall(*blank, tape_, tokenizer_, bos_, {tie}).right, 0);
  RecallQuestion longer = tie;
  for (int i = 0; i < 64; ++i) longer.prompt += " key";
  RecallResult result = evaluate_recall(*model_, tape_, tokenizer_, bos_, {longer, tie});
  EXPECT_EQ(result.skipped, 1);
  EXPECT_EQ(result.questions, 1);
  EXPECT_EQ(evaluate_recall(*model_, tape_, tokenizer_, bos_, {longer}).accuracy(), 0);
}

INSTANTIATE_TEST_SUITE_P(Archs, Recall,
                         testing::Values(Arch::decoder, Arch::double_decoder, Arch::yoco, Arch::block_transformer),
                         [](const auto& arch) { return std::string(arch_name(arch.param)); });

}  // namespace
}  // namespace tandem::test
