#include "data/token_data.h"

#include <map>
#include <set>

#include "base/file.h"
#include "data/synthetic.h"
#include "helpers.h"

namespace tandem {
namespace {

struct TokenDataTest : ::testing::Test {
  TokenData prepare() {
    Corpus corpus(config);
    return TokenData::prepare(tokenizer, config, corpus, pool, cache.path());
  }
  std::vector<std::string> texts(const ShardSet& set) const {
    std::vector<std::string> texts;
    for (int64_t i = 0; i < set.documents(); ++i) {
      auto ids = set.document(i);
      texts.push_back(tokenizer.decode(std::vector<int32_t>(ids.begin(), ids.end())));
    }
    return texts;
  }
  std::string jsonl(int documents, const std::string& name) const {
    std::string lines;
    for (int i = 0; i < documents; ++i) lines += Json{{"text", fmt::format("the {} number {}", name, i)}}.dump() + "\n";
    return lines;
  }

  TemporaryFolder folder;
  TemporaryFolder cache_parent;
  struct Cache {
    std::filesystem::path folder;
    const std::filesystem::path& path() const { return folder; }
  } cache{cache_parent.path() / "cache"};
  Tokenizer tokenizer = byte_tokenizer();
  DataConfig config;
  ThreadPool pool{3};
};

TEST_F(TokenDataTest, PartsAreDisjointAndTogetherTheWholeText) {
  config.sources = {folder.write("a.jsonl", jsonl(300, "story"))};
  TokenData data = prepare();
  std::vector<std::string> training = texts(data.training()), heldout = texts(data.heldout());
  std::set<std::string> all(training.begin(), training.end());
  for (const std::string& text : heldout) EXPECT_TRUE(all.insert(text).second) << text;
  EXPECT_EQ(all.size(), 300u);
  EXPECT_GT(heldout.size(), 1u);
  EXPECT_LT(heldout.size(), 45u);
  // Order is that of the file whatever the threads did.
  EXPECT_EQ(training[0].substr(0, 16), "the story number");
  for (size_t i = 1; i < training.size(); ++i) {
    EXPECT_LT(std::stoi(training[i - 1].substr(17)), std::stoi(training[i].substr(17)));
  }
  EXPECT_EQ(data.training().text_bytes() + data.heldout().text_bytes(), [&] {
    size_t bytes = 0;
    for (const auto& text : all) bytes += text.size();
    return bytes;
  }());
}

TEST_F(TokenDataTest, OneTextFileLosesItsTail) {
  std::string text;
  for (int i = 0; i < 200; ++i) text += fmt::format("This is line {}.\n", i);
  config.sources = {folder.write("a.txt", text)};
  TokenData data = prepare();
  ASSERT_EQ(data.training().documents(), 1);
  ASSERT_EQ(data.heldout().documents(), 1);
  EXPECT_EQ(texts(data.training())[0] + texts(data.heldout())[0], text);
  EXPECT_EQ(texts(data.heldout())[0].substr(0, 13), "This is line ");
}

TEST_F(TokenDataTest, HeldOutFilesLeaveTheSourcesWhole) {
  config.sources = {folder.write("a.jsonl", jsonl(100, "story"))};
  config.heldout = {folder.write("b.txt", "something else")};
  TokenData data = prepare();
  EXPECT_EQ(data.training().documents(), 100);
  EXPECT_EQ(texts(data.heldout()), (std::vector<std::string>{"something else"}));
  config.heldout = {(folder.path() / "." / "a.jsonl").string()};
  EXPECT_NE(input_error_of([&] { prepare(); }).find("a.jsonl"), std::string::npos);
}

TEST_F(TokenDataTest, TokensAreMadeOnceAndAgainWhenAnythingChanged) {
  config.sources = {folder.write("a.jsonl", jsonl(100, "story"))};
  TokenData first = prepare();
  EXPECT_FALSE(first.from_cache());
  TokenData second = prepare();
  EXPECT_TRUE(second.from_cache());
  EXPECT_EQ(second.training().hash(), first.training().hash());
  EXPECT_EQ(second.heldout().hash(), first.heldout().hash());
  folder.write("a.jsonl", jsonl(100, "stony"));  // same name, same size
  TokenData third = prepare();
  EXPECT_FALSE(third.from_cache());
  EXPECT_NE(third.training().hash(), first.training().hash());
}

TEST_F(TokenDataTest, DamagedOrUnfinishedTokensAreMadeAgain) {
  config.sources = {folder.write("a.jsonl", jsonl(100, "story"))};
  std::string hash = prepare().training().hash();
  std::filesystem::path made = std::filesystem::directory_iterator(cache.path())->path();
  std::string bytes = read_file(made / "training-00000.tokens");
  bytes[200] ^= 1;
  write_file_atomically(made / "training-00000.tokens", bytes);
  TokenData again = prepare();
  EXPECT_FALSE(again.from_cache());
  EXPECT_EQ(again.training().hash(), hash);
  EXPECT_TRUE(prepare().from_cache());
  std::string whole = read_file(made / "done.json");
  Json values = Json::parse(whole);
  std::vector<std::string> damaged{"", "{", "[]", whole.substr(0, whole.size() / 2)};
  auto change = [&](const char* key, const Json& value) {
    Json changed = values;
    changed[key] = value;
    damaged.push_back(changed.dump());
  };
  change("training_shards", 100000000000);
  change("training_shards", -1);
  change("heldout_shards", "1");
  change("documents", 7);
  change("documents", Json{{"0", 1}});
  change("documents", Json::array({"1"}));
  change("documents", Json::array({1}));
  change("left_out", nullptr);
  for (const std::string& done : damaged) {
    write_file_atomically(made / "done.json", done);
    EXPECT_FALSE(prepare().from_cache()) << done;
  }
  std::filesystem::remove(made / "done.json");
  EXPECT_FALSE(prepare().from_cache());
}

TEST_F(TokenDataTest, EmptyCorporaAreRefused) {
  config.sources = {folder.write("a.txt", "")};
  EXPECT_NE(input_error_of([&] { prepare(); }).find("empty corpus"), std::string::npos);
  config.sources = {folder.write("b.jsonl", "\n\n")};
  EXPECT_NE(input_error_of([&] { prepare(); }).find("empty corpus"), std::string::npos);
  config.sources = {folder.write("c.jsonl", "{\"text\": \"\"}\n")};
  EXPECT_NE(input_error_of([&] { prepare(); }).find("no training text"), std::string::npos);
  config.sources = {folder.write("d.txt", "tiny")};
  EXPECT_NE(input_error_of([&] { prepare(); }).find("no held-out text"), std::string::npos);
  config.sources = {};
  EXPECT_THROW(prepare(), InputError);
  config.sources = {folder.write("e.txt", "Enough text to be trained on, if only just.")};
  config.heldout = {folder.write("f.txt", "")};
  EXPECT_NE(input_error_of([&] { prepare(); }).find("data.heldout"), std::string::npos);
}

TEST_F(TokenDataTest, TokenBytesAddUpToTheText) {
  std::string text = "th\xc3\xa9 th\xe2\x82\xac and \t\n more th";
  int64_t bytes = 0;
  std::vector<int32_t> lengths = token_byte_lengths(tokenizer);
  for (int32_t id : tokenizer.encode(text)) bytes += lengths[static_cast<size_t>(id)];
  EXPECT_EQ(bytes, static_cast<int64_t>(text.size()));
  EXPECT_EQ(lengths[0], 0);
  EXPECT_EQ(lengths[1], 0);
  EXPECT_EQ(lengths[static_cast<size_t>(*tokenizer.token_to_id("th"))], 2);
}

TEST_F(TokenDataTest, HeldOutBytesAreThoseOfTheLabels) {
  std::string text;
  for (int i = 0; i < 500; ++i) text += fmt::format("Line {} of thirty-{}.\n", i, i % 7);
  config.sources = {folder.write("a.txt", text)};
  TokenData data = prepare();
  HeldOut rows = data.heldout_rows(32, 0);
  std::string labels;
  for (int32_t label : rows.all().labels) {
    if (label != kIgnoreLabel) labels += tokenizer.decode(std::vector<int32_t>{label}, true);
  }
  EXPECT_EQ(rows.text_bytes(), static_cast<int64_t>(labels.size()));
  EXPECT_GT(rows.rows(), 5);
}

TEST_F(TokenDataTest, DocumentTokensAreFoundOrNamed) {
  EXPECT_EQ(find_document_tokens(tokenizer, config).bos, 0);
  EXPECT_EQ(find_document_tokens(tokenizer, config).eos, 1);
  config.bos_token = "th";
  EXPECT_EQ(find_document_tokens(tokenizer, config).bos, *tokenizer.token_to_id("th"));
  config.eos_token = "<nothing>";
  EXPECT_NE(input_error_of([&] { find_document_tokens(tokenizer, config); }).find("'<nothing>'"), std::string::npos);
}

TEST_F(TokenDataTest, SyntheticTextHasTheSizeThatWasAskedFor) {
  config.sources = {"synthetic"};
  config.synthetic_bytes = 50'000;
  TokenData data = prepare();
  EXPECT_GE(data.training().text_bytes(), 50'000u);
  EXPECT_LE(data.training().text_bytes(), 53'000u);
  EXPECT_GE(data.heldout().text_bytes(), 2'500u);
  std::vector<std::string> training = texts(data.training());
  EXPECT_EQ(training[0], StoryMaker(1, SyntheticSplit::kTraining).story(0).text);
  EXPECT_EQ(texts(data.heldout())[0], StoryMaker(1, SyntheticSplit::kHeldOut).story(0).text);
  config.synthetic_seed = 2;
  EXPECT_FALSE(prepare().from_cache());
}

TEST_F(TokenDataTest, SamplesAreSpreadAndBounded) {
  config.sources = {folder.write("a.jsonl", jsonl(1000, "story"))};
  Corpus corpus(config);
  size_t bytes = 0;
  std::vector<std::string> sample = corpus.training_sample(3000);
  for (const std::string& text : sample) bytes += text.size();
  EXPECT_LE(bytes, 3000u);
  EXPECT_GE(bytes, 1500u);  // a third of each record is no text
  EXPECT_GT(std::stoi(sample.back().substr(17)), 900);
  std::vector<std::string> whole = corpus.training_sample(1 << 20);
  EXPECT_GT(whole.size(), 900u);
  EXPECT_LT(whole.size(), 1000u);  // without the held-out documents

  config.sources = {folder.write("b.txt", std::string(1000, 'a') + "\xe2\x82\xac" + std::string(2000, 'b'))};
  sample = Corpus(config).training_sample(1001);
  ASSERT_EQ(sample.size(), 1u);
  EXPECT_EQ(sample[0], std::string(1000, 'a'));
}

}  // namespace
}  // namespace tandem
