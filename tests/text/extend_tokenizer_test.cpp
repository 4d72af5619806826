#include "text/extend_tokenizer.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/json.h"
#include "text/bpe_trainer.h"

namespace tandem {
namespace {

Tokenizer small_tokenizer() {
  TrainBpeOptions options;
  options.vocab_size = 280;
  return Tokenizer::parse(train_bpe({"the key is in the barn the key is in the barn"}, options), "test");
}

TEST(ExtendTokenizer, AppendsSpecialTokens) {
  Tokenizer before = small_tokenizer();
  Tokenizer after = with_special_tokens(before, std::vector<std::string>{"<tool>", "<s>", "<note>", "<tool>"});
  EXPECT_EQ(after.vocab_size(), before.vocab_size() + 2);
  EXPECT_EQ(after.token_to_id("<tool>"), before.vocab_size());
  EXPECT_EQ(after.token_to_id("<note>"), before.vocab_size() + 1);
  EXPECT_TRUE(after.is_special(before.vocab_size()));
  for (const char* text : {"the key", "<s>the goat</s>", "a < tool >"}) {
    EXPECT_EQ(after.encode(text), before.encode(text)) << text;
  }
  std::vector<int32_t> ids = before.encode("the barn");
  std::vector<int32_t> expected = ids;
  expected.insert(expected.begin(), before.vocab_size());
  EXPECT_EQ(after.encode("<tool>the barn"), expected);
  EXPECT_EQ(after.decode(expected), "<tool>the barn");
  EXPECT_EQ(after.decode(expected, /*skip_special=*/true), "the barn");
  EXPECT_NE(after.hash(), before.hash());
}

TEST(ExtendTokenizer, NothingMissingNothingAdded) {
  Tokenizer before = small_tokenizer();
  EXPECT_TRUE(missing_tokens(before, std::vector<std::string>{"<s>"}).empty());
  EXPECT_EQ(with_special_tokens(before, std::vector<std::string>{"<s>"}).vocab_size(), before.vocab_size());
  EXPECT_THROW(missing_tokens(before, std::vector<std::string>{""}), InputError);
}

// Everything else in the file stays.
TEST(ExtendTokenizer, TheFileIsOtherwiseTheSame) {
  Tokenizer before = small_tokenizer();
  Json a = Json::parse(before.json()),
       b = Json::parse(with_special_tokens(before, std::vector<std::string>{"<x>"}).json());
  ASSERT_EQ(b["added_tokens"].size(), a["added_tokens"].size() + 1);
  b["added_tokens"].erase(b["added_tokens"].size() - 1);
  EXPECT_EQ(a, b);
}

}  // namespace
}  // namespace tandem
