#include "eval/answers.h"

#include <gtest/gtest.h>

#include "arch/model_check.h"
#include "base/error.h"
#include "infer/text_generation.h"
#include "text/bpe_trainer.h"

namespace tandem::test {
namespace {

using Messages = std::vector<ChatMessage>;

class Answers : public testing::TestWithParam<Arch> {
 protected:
  Answers() {
    config_.vocab_size = tokenizer_.vocab_size();
    config_.max_seq_len = 48;
    model_ = random_model(config_, Precision::float32());
  }

  static Tokenizer trained() {
    TrainBpeOptions options;
    options.vocab_size = 280;
    return Tokenizer::parse(train_bpe({"the sum of two and two is four and the sum of one and one is two"}, options),
                            "test");
  }
  // What the model writes after `messages`, by plain generation.
  std::string written_after(const Messages& messages, int64_t most) {
    GenerationOptions options;
    options.max_tokens = most;
    options.eos = {2};
    Generator generator(ctx_, *model_);
    return generate_text(generator, tokenizer_, Prompt::answer(chat_.prompt(messages), chat_.opening()), options, {})
        .text;
  }
  AnswerResult score(const std::vector<Messages>& conversations, int64_t most,
                     const std::function<void(size_t, const Answer&)>& on_answer = {}) {
    Generator generator(ctx_, *model_);
    return evaluate_answers(generator, *model_, tokenizer_, chat_, 2, conversations, most, on_answer);
  }

  Context ctx_{1};
  ModelConfig config_ = small_config(GetParam());
  Tokenizer tokenizer_ = trained();
  ChatTemplate chat_{tokenizer_, ChatTokenNames(), 1, 2};
  std::unique_ptr<Model> model_;
};

// The first answer of a conversation is read, the last one is asked for.
TEST_P(Answers, ComparesTheLastAnswerWithWhatTheModelWrites) {
  Messages asked{{ChatRole::user, "the sum of one and one"}, {ChatRole::assistant, "two"}, {ChatRole::user, "of two"}};
  std::string written = written_after(asked, 9);
  Messages right = asked, wrong = asked;
  right.push_back({ChatRole::assistant, written});
  wrong.push_back({ChatRole::assistant, "nothing of the kind"});
  wrong.push_back({ChatRole::user, "what comes after the last answer is left out"});
  std::vector<Answer> answers;
  AnswerResult result = score({right, wrong}, 9, [&](size_t index, const Answer& answer) {
    EXPECT_EQ(index, answers.size());
    answers.push_back(answer);
  });
  ASSERT_EQ(answers.size(), 2u);
  for (const Answer& answer : answers) EXPECT_EQ(answer.written, written);
  EXPECT_TRUE(answers[0].exact);
  EXPECT_FALSE(answers[1].exact);
  EXPECT_EQ(answers[1].expected, "nothing of the kind");
  EXPECT_EQ(result.asked, 2);
  EXPECT_EQ(result.exact, 1);
  EXPECT_EQ(result.exact_share(), 0.5);
  EXPECT_DOUBLE_EQ(result.f1, answers[0].f1 + answers[1].f1);
  EXPECT_DOUBLE_EQ(answers[0].f1, 1);
  EXPECT_GE(result.rouge_l, 1);
  EXPECT_GT(result.tokens, 0);
  EXPECT_LE(result.tokens, 18);
}

TEST_P(Answers, SkipsWhatDoesNotFitOrHasNoAnswer) {
  Messages no_answer{{ChatRole::user, "the sum"}};
  Messages too_long{{ChatRole::user, std::string(200, 'x')}, {ChatRole::assistant, "two"}};
  AnswerResult result = score({no_answer, too_long}, 4);
  EXPECT_EQ(result.asked, 0);
  EXPECT_EQ(result.skipped, 2);
  EXPECT_EQ(result.mean_f1(), 0);
  Messages system{{ChatRole::system, "be brief"}, {ChatRole::user, "the sum"}, {ChatRole::assistant, "two"}};
  EXPECT_THROW(score({system}, 4), InputError);  // the tokenizer has no token for it
}

INSTANTIATE_TEST_SUITE_P(Architectures, Answers, testing::Values(Arch::decoder, Arch::double_decoder, Arch::yoco),
                         [](const auto& tested) { return std::string(arch_name(tested.param)); });

}  // namespace
}  // namespace tandem::test
