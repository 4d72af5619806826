// Many texts at once: the same ids as one by one. And what it is built from.
#include "text/encoder.h"

#include <gtest/gtest.h>

#include <map>

#include "base/error.h"
#include "base/json.h"
#include "text/double_array.h"
#include "text/helpers.h"
#include "text/token_table.h"
#include "text/word_cache.h"

namespace tandem {
namespace {

using Ids = std::vector<int32_t>;

TEST(WordCache, RemembersWhatFits) {
  WordCache cache;
  auto remember = [&](const std::string& word, const Ids& ids) { cache.remember(word, hash_bytes(word), ids); };
  auto recall = [&](const std::string& word) -> std::optional<Ids> {
    Ids ids{-5};
    if (!cache.append(word, hash_bytes(word), ids)) return std::nullopt;
    EXPECT_EQ(ids[0], -5) << "appended, not replaced";
    return Ids(ids.begin() + 1, ids.end());
  };
  EXPECT_EQ(recall("one"), std::nullopt);
  remember("one", {1});
  remember("nothing", {});
  const std::string longest(WordCache::kMostBytes, 'x');
  remember(longest, Ids(WordCache::kMostIds, 3));
  remember("many", Ids(WordCache::kMostIds + 1, 3));
  EXPECT_EQ(recall("one"), Ids{1});
  EXPECT_EQ(recall("nothing"), Ids{});
  EXPECT_EQ(recall(longest), Ids(WordCache::kMostIds, 3));
  EXPECT_EQ(recall("many"), std::nullopt);
  EXPECT_EQ(recall("on"), std::nullopt);
}

TEST(DoubleArray, FindsWhatAMapFinds) {
  Rng rng(31, 0);
  for (int round = 0; round < 60; ++round) {
    // Few letters, so that many strings begin alike; now and then any byte.
    uint32_t letters = round % 3 == 0 ? 256 : 3;
    auto random = [&](uint32_t most) {
      std::string text;
      for (uint32_t n = rng.below(most + 1); n > 0; --n) text += static_cast<char>(rng.below(letters));
      return text;
    };
    std::vector<std::string> keys;
    std::map<std::string, int32_t> expected;
    for (uint32_t n = rng.below(400); n > 0; --n) {
      keys.push_back(random(8));
      if (!keys.back().empty()) expected.emplace(keys.back(), static_cast<int32_t>(keys.size()) - 1);
    }
    DoubleArray trie(keys);
    for (int probe = 0; probe < 300; ++probe) {
      std::string text =
          probe % 2 == 0 || keys.empty() ? random(9) : keys[rng.below(static_cast<uint32_t>(keys.size()))];
      uint32_t node = DoubleArray::kRoot;
      for (size_t at = 0; at < text.size() && node != DoubleArray::kNowhere; ++at) {
        node = trie.step(node, static_cast<unsigned char>(text[at]));
      }
      auto found = expected.find(text);
      int32_t value = node == DoubleArray::kNowhere ? -1 : trie.value(node);
      ASSERT_EQ(value, found == expected.end() ? -1 : found->second);
      auto longer = expected.lower_bound(text);
      bool begins = longer != expected.end() && longer->first.starts_with(text);
      ASSERT_EQ(node != DoubleArray::kNowhere, begins || text.empty());
    }
  }
}

class EncodersAgree : public testing::TestWithParam<const char*> {};

TEST_P(EncodersAgree, WithOneByOne) {
  Tokenizer tokenizer = Tokenizer::load_from_folder(test::golden_tokenizers() / GetParam());
  std::string common = read_file(test::golden_tokenizers() / "training/text.txt");
  Rng rng(37, 0);
  std::vector<std::string> texts;
  for (int i = 0; i < 200; ++i) {
    std::string text = test::random_text(rng, 40);
    text += common.substr(rng.below(static_cast<uint32_t>(common.size())), rng.below(300));
    texts.push_back(text + test::random_text(rng, 5));
  }
  texts.emplace_back("");
  std::vector<std::string_view> views(texts.begin(), texts.end());
  ThreadPool pool(3);
  BatchEncoder batches(tokenizer, pool);
  for (bool special : {false, true}) {
    std::vector<Ids> ids = batches.encode(views, special);
    ASSERT_EQ(ids.size(), texts.size());
    for (size_t i = 0; i < texts.size(); ++i) ASSERT_EQ(ids[i], tokenizer.encode(texts[i], special)) << texts[i];
  }
}

INSTANTIATE_TEST_SUITE_P(Tokenizers, EncodersAgree,
                         testing::Values("gpt2", "llama3", "gaps", "added", "fallback", "metaspace", "words", "spm_bpe",
                                         "spm_unigram", "spm_word"),
                         [](const auto& one) { return std::string(one.param); });

TEST(BatchEncoder, BadTextIsAnInputError) {
  Tokenizer tokenizer = Tokenizer::load_from_folder(test::golden_tokenizers() / "gpt2");
  ThreadPool pool(2);
  std::vector<std::string_view> texts{"good", "bad \xFF"};
  EXPECT_THROW(BatchEncoder(tokenizer, pool).encode(texts), InputError);
}

// Cutting a long text in front of U+2581 changes nothing, or is not done.
TEST(Boundary, OnlyWhereNoMergeCrosses) {
  auto model = [](const char* merge) {
    Json json = test::small_tokenizer();
    json["pre_tokenizer"] = nullptr;
    json["model"]["vocab"] = {{"a", 1}, {"\u2581", 2}, {"\u2581a", 3}, {"a\u2581", 4}, {"<s>", 0}};
    json["model"]["merges"] = Json::array({merge});
    return Tokenizer::parse(json.dump(), "f.json");
  };
  EXPECT_EQ(model("\u2581 a").encode("\u2581aa\u2581\u2581a"), (Ids{3, 1, 2, 3}));
  EXPECT_EQ(model("a \u2581").encode("\u2581aa\u2581\u2581a"), (Ids{2, 1, 4, 2, 1})) << "this one joins across";
}

TEST(TextBytes, AreThoseOfTheText) {
  // Random words of ASCII: what the tokens stand for adds up to the text (and its prefix of one space).
  for (const char* name : {"gpt2", "fallback", "spm_bpe"}) {
    Tokenizer tokenizer = Tokenizer::load_from_folder(test::golden_tokenizers() / name);
    std::vector<int32_t> bytes = tokenizer.text_bytes();
    ASSERT_EQ(bytes.size(), static_cast<size_t>(tokenizer.vocab_size()));
    for (std::string text : {"First Citizen: speak, speak.", "What is it?\nNothing", "caf\u00E9 \U0001F44D"}) {
      int64_t sum = 0;
      for (int32_t id : tokenizer.encode(text)) sum += bytes[static_cast<size_t>(id)];
      int64_t prefix = std::string(name) == "gpt2" ? 0 : 1;
      EXPECT_EQ(sum, static_cast<int64_t>(text.size()) + prefix) << name << ": " << text;
    }
    for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
      if (tokenizer.is_special(id)) {
        EXPECT_EQ(bytes[static_cast<size_t>(id)], 0);
      }
    }
  }
}

TEST(TokenBytes, AddUpToTheDecodedText) {
  for (const char* name : {"gpt2", "fallback", "spm_bpe"}) {
    Tokenizer tokenizer = Tokenizer::load_from_folder(test::golden_tokenizers() / name);
    std::vector<std::string> first = tokenizer.token_bytes(TokenPlace::first);
    std::vector<std::string> inside = tokenizer.token_bytes(TokenPlace::inside);
    for (std::string text : {"First Citizen: speak,  speak.", " What\nis it?", "caf\u00E9 \U0001F44D"}) {
      std::vector<int32_t> ids = tokenizer.encode(text);
      std::string sum = first[static_cast<size_t>(ids[0])];
      for (size_t i = 1; i < ids.size(); ++i) sum += inside[static_cast<size_t>(ids[i])];
      EXPECT_EQ(sum, tokenizer.decode(ids)) << name;
    }
  }
}

TEST(Tokenizer, FolderHoldsExactlyOne) {
  auto folder = test::golden_tokenizers();
  EXPECT_EQ(Tokenizer::load_from_folder(folder / "gpt2").file_name(), "tokenizer.json");
  EXPECT_EQ(Tokenizer::load_from_folder(folder / "spm_bpe").format(), TokenizerFormat::sentencepiece);
  EXPECT_THROW(Tokenizer::load_from_folder(folder), InputError);
}

}  // namespace
}  // namespace tandem
