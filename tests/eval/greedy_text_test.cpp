#include "eval/greedy_text.h"

#include <gtest/gtest.h>

#include "arch/model_check.h"
#include "base/trimmed.h"
#include "infer/text_generation.h"
#include "text/bpe_trainer.h"

namespace tandem::test {
namespace {

class GreedyText : public testing::TestWithParam<Arch> {
 protected:
  GreedyText() {
    config_.vocab_size = tokenizer_.vocab_size();
    config_.max_seq_len = 64;
    model_ = random_model(config_, Precision::float32());
    model_->parameters().pack(ctx_, kernels::WeightFormat::f32);
  }
  static Tokenizer trained() {
    TrainBpeOptions options;
    options.vocab_size = 300;
    return Tokenizer::parse(train_bpe({"the sum of two and two\nis four and the sum of one and one is two"}, options),
                            "test");
  }
  std::vector<int32_t> prompt(const std::string& text) { return encode_prompt(tokenizer_, text, bos_); }
  // The first line that the model writes, by plain generation of so many tokens.
  std::string line_after(const std::string& text, int64_t most) {
    Generator generator(ctx_, *model_);
    GenerationOptions options;
    options.max_tokens = most;
    options.eos = {eos_};
    std::string all = generate_text(generator, tokenizer_, Prompt::continue_text(prompt(text)), options, {}).text;
    return all.substr(0, all.find('\n'));
  }
  std::vector<WrittenAnswer> write(const std::vector<WrittenQuestion>& questions) {
    return write_answers({*model_, tape_, tokenizer_, bos_, eos_}, questions);
  }

  Tokenizer tokenizer_ = trained();
  int32_t bos_ = *tokenizer_.token_to_id("<s>"), eos_ = *tokenizer_.token_to_id("</s>");
  ModelConfig config_ = small_config(GetParam());
  Context ctx_{1};
  std::unique_ptr<Model> model_;
  Tape tape_{ctx_, Precision::float32(), Tape::Mode::no_grad};
};

const std::vector<std::string> kPrompts{"the sum of two", "one and", "four",
                                        "two and two is", "is",      "of the sum of one"};

TEST_P(GreedyText, IsRightWhenTheModelWritesExactlyThis) {
  int compared = 0;
  for (const std::string& text : kPrompts) {
    std::string line = line_after(text, 64), whole = trimmed(line);
    // So many tokens are allowed beyond one for each byte.
    if (whole.empty() || line.size() > whole.size() + 8) continue;
    ++compared;
    std::vector<WrittenAnswer> answers = write({{prompt(text), whole}, {prompt(text), whole + "x"}});
    EXPECT_EQ(answers[0].text, whole);
    EXPECT_TRUE(answers[0].right);
    EXPECT_EQ(answers[1].text, whole);
    EXPECT_FALSE(answers[1].right);
    std::string part = trimmed(whole.substr(0, whole.size() / 2));
    if (part.empty()) continue;
    WrittenAnswer longer = write({{prompt(text), part}}).front();
    EXPECT_FALSE(longer.right) << "more than '" << part << "' was written: '" << longer.text << "'";
    EXPECT_GT(longer.text.size(), part.size());
  }
  EXPECT_GT(compared, 2);
}

TEST_P(GreedyText, DoesNotDependOnTheOtherQuestions) {
  std::vector<WrittenQuestion> questions;
  for (int i = 0; i < 8; ++i) {
    for (const std::string& text : kPrompts) questions.push_back({prompt(text), std::string(10 + i, 'a')});
  }
  std::vector<WrittenAnswer> together = write(questions);
  for (size_t i = 0; i < questions.size(); i += 7) EXPECT_EQ(write({questions[i]}).front().text, together[i].text) << i;
}

INSTANTIATE_TEST_SUITE_P(Archs, GreedyText, testing::Values(Arch::decoder, Arch::double_decoder, Arch::encoder_decoder),
                         [](const auto& arch) { return std::string(arch_name(arch.param)); });

}  // namespace
}  // namespace tandem::test
