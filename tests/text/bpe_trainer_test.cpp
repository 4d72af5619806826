#include "text/bpe_trainer.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/temporary_folder.h"
#include "text/helpers.h"
#include "text/tokenizer.h"

namespace tandem {
namespace {

using test::message_of;

TEST(BpeTrainer, WritesTheFileOfTheReferenceLibrary) {
  auto folder = test::golden_tokenizers() / "training";
  std::string text = read_file(folder / "text.txt");
  EXPECT_EQ(train_bpe({text}, {.vocab_size = 420}), read_file(folder / "tokenizer.json"));
}

TEST(BpeTrainer, OrderOfDocumentsDoesNotMatter) {
  std::vector<std::string_view> documents = {"the cat sat", "on the mat", "the mat sat on the cat", "a mat"};
  TrainBpeOptions options{.vocab_size = 280};
  std::string first = train_bpe(documents, options);
  std::swap(documents[0], documents[3]);
  std::swap(documents[1], documents[2]);
  EXPECT_EQ(train_bpe(documents, options), first);
}

TEST(BpeTrainer, CountsRunsOfOneCharacter) {
  // "aaaa" has the pair (a, a) three times; merged, it is two tokens, which merge in turn.
  Tokenizer tokenizer = Tokenizer::parse(train_bpe({"aaaa aaaa"}, {.vocab_size = 300, .min_frequency = 1}), "trained");
  EXPECT_EQ(tokenizer.encode("aaaa").size(), 1u);
  EXPECT_EQ(tokenizer.encode("aaaaa").size(), 2u);
}

TEST(BpeTrainer, EveryByteAndSpecialTokenIsThere) {
  Tokenizer tokenizer = Tokenizer::parse(train_bpe({"hello"}, {.vocab_size = 261}), "trained");
  EXPECT_EQ(tokenizer.vocab_size(), 261);
  EXPECT_EQ(tokenizer.token_to_id("<pad>"), 0);
  EXPECT_EQ(tokenizer.token_to_id("<s>"), 1);
  EXPECT_EQ(tokenizer.token_to_id("</s>"), 2);
  EXPECT_EQ(tokenizer.token_to_id("<user>"), 3);
  EXPECT_EQ(tokenizer.token_to_id("<assistant>"), 4);
  std::string text("\n\t\0 é日👍\x7F", 15);
  text.resize(valid_utf8_prefix(text));
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
  EXPECT_EQ(tokenizer.encode("<s>a</s>").size(), 3u);
}

TEST(BpeTrainer, SpecialTokensAreQuoted) {
  std::string json = train_bpe({"x"}, {.vocab_size = 300, .special_tokens = {"<\"\\>", "<\n>", "<é>"}});
  Tokenizer tokenizer = Tokenizer::parse(json, "trained");
  EXPECT_EQ(tokenizer.encode("<\"\\><é>").size(), 2u);
  EXPECT_EQ(Tokenizer::parse(train_bpe({"x"}, {.vocab_size = 256, .special_tokens = {}}), "trained").vocab_size(), 256);
}

TEST(BpeTrainer, StopsWhereTheTextDoes) {
  Tokenizer tokenizer = Tokenizer::parse(train_bpe({"ab ab"}, {.vocab_size = 5000}), "trained");
  EXPECT_EQ(tokenizer.vocab_size(), 262);  // "ab" twice; " ab" only once
}

TEST(BpeTrainer, ReportsProgress) {
  std::string text = read_file(test::golden_tokenizers() / "training/text.txt");
  TrainBpeOptions options{.vocab_size = 520};
  std::vector<int32_t> sizes;
  options.progress = [&](int32_t size, int32_t wanted) {
    EXPECT_EQ(wanted, 520);
    sizes.push_back(size);
  };
  train_bpe({text}, options);
  EXPECT_EQ(sizes, std::vector<int32_t>{512});
}

TEST(BpeTrainer, RefusesBadOptionsAndText) {
  EXPECT_EQ(message_of<InputError>([] { BpeTrainer({.vocab_size = 260}); }),
            "vocabulary is too small: got 260 tokens, expected at least 261 (256 bytes and 5 special tokens)");
  for (const char* token : {"", "a", "Ġ", "<s>"}) {
    TrainBpeOptions options{.special_tokens = {"<s>", token}};
    EXPECT_TRUE(message_of<InputError>([&] { BpeTrainer{options}; }).starts_with("special token cannot be used"));
  }
  EXPECT_TRUE(message_of<InputError>([] { train_bpe({}, {}); }).starts_with("no text to train a tokenizer on"));
  EXPECT_TRUE(message_of<InputError>([] { train_bpe({""}, {}); }).starts_with("no text to train a tokenizer on"));
  BpeTrainer trainer({});
  EXPECT_TRUE(message_of<InputError>([&] {
                trainer.add("a\xFF", "notes.txt");
              }).starts_with("text is not UTF-8: notes.txt: got byte 0xFF at offset 1"));
}

}  // namespace
}  // namespace tandem
