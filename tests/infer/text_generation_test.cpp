#include "infer/text_generation.h"

#include <gtest/gtest.h>

#include "arch/model_check.h"
#include "base/error.h"
#include "text/bpe_trainer.h"

namespace tandem::test {
namespace {

Tokenizer small_tokenizer() {
  TrainBpeOptions options;
  options.vocab_size = 300;
  return Tokenizer::parse(
      train_bpe({"the cat sat on the mat and the dog sat on the log; the end of the tale"}, options), "test");
}

class Text : public testing::Test {
 protected:
  Text() {
    config_.vocab_size = tokenizer_.vocab_size() + 3;  // ids without text, as rounded-up vocabularies have
    config_.max_seq_len = 64;
    model_ = random_model(config_, Precision::float32());
    options_.max_tokens = 40;
    options_.sampling.temperature = 1;  // a random model's greedy text repeats itself
  }

  Prompt prompt(const char* text = "the cat") {
    return Prompt::continue_text(encode_prompt(tokenizer_, text, *tokenizer_.token_to_id("<s>")));
  }
  TextGeneration generate(const std::vector<std::string>& stops = {}, const OnText& on_text = {}) {
    Generator generator(ctx_, *model_);
    return generate_text(generator, tokenizer_, prompt(), options_, stops, on_text);
  }
  // Text of the ids that stand for some.
  std::string decode(const std::vector<int32_t>& ids) {
    std::vector<int32_t> known;
    for (int32_t id : ids) {
      if (id < tokenizer_.vocab_size()) known.push_back(id);
    }
    return tokenizer_.decode(known, true);
  }

  Tokenizer tokenizer_ = small_tokenizer();
  ModelConfig config_ = small_config(Arch::double_decoder);
  Context ctx_{1};
  std::unique_ptr<Model> model_;
  GenerationOptions options_;
};

TEST_F(Text, PiecesMakeTheDecodedText) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    options_.sampling.seed = seed;
    std::string streamed;
    TextGeneration result = generate({}, [&](std::string_view piece) { streamed += piece; });
    EXPECT_EQ(result.text, decode(result.tokens.ids));
    EXPECT_EQ(streamed, result.text);
    EXPECT_EQ(result.tokens.ids.size(), 40u);
  }
}

TEST_F(Text, AStopStringEndsTheTextWhereverItsTokensBegin) {
  options_.sampling.seed = 3;
  TextGeneration whole = generate();
  ASSERT_GT(whole.text.size(), 30u);
  // Any stretch of the text, cut at characters: bytes that are no character became U+FFFD.
  for (size_t begin = 5; begin < 20; ++begin) {
    std::string stop = whole.text.substr(begin, 6);
    std::string streamed;
    TextGeneration cut = generate({"never written", stop}, [&](std::string_view piece) { streamed += piece; });
    EXPECT_EQ(cut.text, whole.text.substr(0, whole.text.find(stop)));
    EXPECT_EQ(streamed, cut.text);
    EXPECT_EQ(cut.tokens.finish_reason, FinishReason::stop);
    EXPECT_LT(cut.tokens.ids.size(), whole.tokens.ids.size());
  }
}

TEST_F(Text, SpecialTokensHaveNoTextAndEosEndsIt) {
  options_.max_tokens = 4;
  TextGeneration whole = generate();
  options_.eos = {whole.tokens.ids[1]};
  TextGeneration cut = generate();
  EXPECT_EQ(cut.tokens.finish_reason, FinishReason::eos);
  EXPECT_EQ(cut.text, decode(cut.tokens.ids));
}

// The first pass reads the prompt, each one behind it writes a token.
TEST_F(Text, CancelledBetweenPasses) {
  Generator generator(ctx_, *model_);
  int asked = 0;
  TextGeneration result =
      generate_text(generator, tokenizer_, prompt(), options_, {}, {}, [&asked] { return ++asked == 5; });
  EXPECT_EQ(result.tokens.finish_reason, FinishReason::cancelled);
  EXPECT_EQ(result.tokens.ids.size(), 3u);
}

TEST_F(Text, PromptsStartWithOneBos) {
  int32_t bos = *tokenizer_.token_to_id("<s>");
  std::vector<int32_t> plain = encode_prompt(tokenizer_, "the cat", bos);
  EXPECT_EQ(plain.front(), bos);
  EXPECT_EQ(encode_prompt(tokenizer_, "<s>the cat", bos), plain);
  EXPECT_EQ(encode_prompt(tokenizer_, "the cat", -1), std::vector<int32_t>(plain.begin() + 1, plain.end()));
  EXPECT_THROW(encode_prompt(tokenizer_, "", bos), InputError);
  EXPECT_THROW(encode_prompt(tokenizer_, "bad \xff byte", bos), InputError);
}

}  // namespace
}  // namespace tandem::test
