#include "data/token_data.h"

#include <map>
#include <set>

#include "base/file.h"
#include "base/json.h"
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

TEST_F(TokenDataTest, SourcesAreKnownByTheirDocuments) {
  config.sources = {folder.write("a.jsonl", jsonl(60, "story")), folder.write("b.jsonl", jsonl(240, "thought"))};
  for (bool from_cache : {false, true}) {
    TokenData data = prepare();
    EXPECT_EQ(data.from_cache(), from_cache);
    const std::vector<SourceTokens>& sources = data.sources();
    ASSERT_EQ(sources.size(), 2u);
    EXPECT_EQ(sources[0].documents + sources[1].documents, data.training().documents());
    EXPECT_EQ(sources[0].tokens + sources[1].tokens, data.training().tokens());
    EXPECT_EQ(sources[1].first, sources[0].documents);
    EXPECT_DOUBLE_EQ(sources[0].share + sources[1].share, 1.0);
    std::vector<std::string> all = texts(data.training());
    for (size_t s = 0; s < 2; ++s) {
      EXPECT_EQ(sources[s].name, config.sources[s]);
      for (int64_t i = 0; i < sources[s].documents; ++i) {
        EXPECT_NE(all[static_cast<size_t>(sources[s].first + i)].find(s == 0 ? "story" : "thought"), std::string::npos);
      }
    }
    // Without weights every document comes once per epoch, whatever its source.
    EXPECT_EQ(data.rows(32, 1).parts(), 1u);
  }
}

TEST_F(TokenDataTest, WeightsSetTheSharesOfTheRows) {
  config.sources = {folder.write("a.jsonl", jsonl(60, "story")), folder.write("b.jsonl", jsonl(240, "thought"))};
  std::string unweighted = prepare().training().hash();
  config.weights = {3, 1};
  TokenData data = prepare();
  EXPECT_TRUE(data.from_cache());  // weights change what is read, not what is stored
  EXPECT_EQ(data.training().hash(), unweighted);
  EXPECT_DOUBLE_EQ(data.sources()[0].share, 0.75);
  RowStream rows = data.rows(32, 1);
  int64_t stories = 0;
  for (int row = 0; row < 400; ++row) {
    Batch batch = rows.next_batch(1);
    std::string text = tokenizer.decode(batch.ids);
    bool story = text.find("story") != std::string::npos, thought = text.find("thought") != std::string::npos;
    EXPECT_FALSE(story && thought);
    stories += rows.last_part() == 0;
  }
  EXPECT_EQ(stories, 300);
  EXPECT_GT(rows.epochs(0), 6 * rows.epochs(1));
}

TEST_F(TokenDataTest, WeightsThatFitNothingAreRefused) {
  config.sources = {folder.write("a.jsonl", jsonl(60, "story")), folder.write("b.txt", "")};
  config.heldout = {folder.write("h.txt", "something held out")};
  auto error = [&](std::vector<double> weights) {
    config.weights = std::move(weights);
    return input_error_of([&] { prepare(); });
  };
  EXPECT_NE(error({1}).find("each of the 2 sources"), std::string::npos);
  EXPECT_NE(error({1, 0}).find("data.weights"), std::string::npos);
  EXPECT_NE(error({1, -1}).find("data.weights"), std::string::npos);
  EXPECT_NE(error({1, 1}).find("b.txt"), std::string::npos);  // nothing to read in proportion
  config.weights.clear();
  EXPECT_NO_THROW(prepare());
}

TEST_F(TokenDataTest, MaskedDocumentsMakeIsolatedRows) {
  config.sources = {folder.write("a.jsonl", jsonl(60, "story"))};
  TokenData open = prepare();
  config.mask_documents = true;
  TokenData masked = prepare();
  EXPECT_TRUE(masked.from_cache());
  Batch a = open.rows(64, 1).next_batch(4), b = masked.rows(64, 1).next_batch(4);
  EXPECT_FALSE(a.isolated);
  EXPECT_TRUE(b.isolated);
  EXPECT_EQ(a.ids, b.ids);
  EXPECT_NE(a.positions, b.positions);
  EXPECT_TRUE(masked.heldout_rows(64, 0).all().isolated);
}

struct ConversationDataTest : TokenDataTest {
  ConversationDataTest() {
    tokenizer = byte_tokenizer({"<user>", "<assistant>", "<pad>"});
    config.records = Records::conversations;
  }
  std::string conversations(int count, const std::string& more = "") const {
    std::string lines;
    for (int i = 0; i < count; ++i) {
      lines +=
          Json{{"prompt", fmt::format("the {} of {}", more, i)}, {"response", fmt::format("th{}", i)}}.dump() + "\n";
    }
    return lines;
  }
};

TEST_F(ConversationDataTest, RowsHoldWholeConversationsAndLearnTheirResponses) {
  config.sources = {folder.write("a.jsonl", conversations(200))};
  for (bool from_cache : {false, true}) {
    TokenData data = prepare();
    EXPECT_EQ(data.from_cache(), from_cache);
    EXPECT_EQ(data.document_tokens().pad, *tokenizer.token_to_id("<pad>"));
    Batch batch = data.rows(64, 1).next_batch(30);
    EXPECT_EQ(batch.objective, Objective::conversation);
    std::string text = tokenizer.decode(batch.ids);
    int64_t begun = 0, whole = 0;
    for (size_t at = text.find("<s>"); at != std::string::npos; at = text.find("<s>", at + 1)) {
      ++begun;
      size_t user = text.find("<user>", at), assistant = text.find("<assistant>", at), end = text.find("</s>", at);
      whole += user == at + 3 && assistant > user && end > assistant && text.find("<s>", at + 1) > end;
    }
    EXPECT_GT(begun, 50);
    EXPECT_EQ(whole, begun);
    std::string labels;
    for (int32_t label : batch.labels) {
      if (label != kIgnoreLabel) labels += tokenizer.decode(std::vector<int32_t>{label});
    }
    std::string answers;
    for (size_t at = text.find("<assistant>"); at != std::string::npos; at = text.find("<assistant>", at + 1)) {
      size_t begin = at + 11;
      answers += text.substr(begin, text.find("</s>", at) + 4 - begin);
    }
    EXPECT_EQ(labels, answers);
    HeldOut heldout = data.heldout_rows(64, 0);
    EXPECT_EQ(heldout.batch(0, 1).objective, Objective::conversation);
    EXPECT_EQ(heldout.batch(0, 1).roles.size(), 64u);
    // The bytes behind the labels are those of the held-out responses; EOS has none.
    int64_t bytes = 0;
    for (int32_t label : heldout.all().labels)
      bytes += label == kIgnoreLabel || label == 1 ? 0 : (label == 261 ? 2 : 1);
    EXPECT_EQ(heldout.text_bytes(), bytes);
  }
}

TEST_F(ConversationDataTest, TheLastHeldOutRowIsPadded) {
  config.sources = {folder.write("a.jsonl", conversations(40))};
  config.heldout = {folder.write("h.jsonl", conversations(3, "held out"))};
  TokenData data = prepare();
  EXPECT_EQ(data.heldout().documents(), 3);
  HeldOut rows = data.heldout_rows(128, 0);
  std::string text = tokenizer.decode(rows.all().ids);
  for (const char* answer : {"th0</s>", "th1</s>", "th2</s>"}) EXPECT_NE(text.find(answer), std::string::npos);
  EXPECT_TRUE(text.ends_with("<pad>"));
  EXPECT_EQ(rows.all().roles.back(), Role::padding);
}

TEST_F(ConversationDataTest, LongOnesAreCounted) {
  config.sources = {folder.write("a.jsonl", conversations(50) + conversations(30, std::string(100, 'x')))};
  config.heldout = {folder.write("h.jsonl", conversations(3, "held out"))};
  TokenData data = prepare();
  LongCounts dropped = count_long(data.training(), data.pack_rule(64));
  EXPECT_EQ(dropped.dropped, 30);
  EXPECT_EQ(dropped.truncated, 0);
  RowStream rows = data.rows(64, 1);
  EXPECT_EQ(tokenizer.decode(rows.next_batch(100).ids).find("xxx"), std::string::npos);
  config.long_conversations = LongConversations::truncate;
  TokenData cut = prepare();
  EXPECT_TRUE(cut.from_cache());
  LongCounts truncated = count_long(cut.training(), cut.pack_rule(64));
  EXPECT_EQ(truncated.dropped, 0);
  EXPECT_EQ(truncated.truncated, 30);
  RowStream all = cut.rows(64, 1);
  EXPECT_NE(tokenizer.decode(all.next_batch(100).ids).find("xxx"), std::string::npos);
}

TEST_F(ConversationDataTest, WhatTheTemplateRefusesIsNamedByFileAndLine) {
  std::string system = R"({"messages": [{"role": "system", "content": "s"}, {"role": "assistant", "content": "a"}]})";
  config.sources = {folder.write("a.jsonl", conversations(40) + system + "\n")};
  std::string error = input_error_of([&] { prepare(); });
  EXPECT_NE(error.find("a.jsonl:41"), std::string::npos) << error;
  EXPECT_NE(error.find("<system>"), std::string::npos) << error;
  config.chat.assistant = "<bot>";
  EXPECT_NE(input_error_of([&] { prepare(); }).find("'<bot>'"), std::string::npos);
}

// A cache of texts is not taken for one of conversations, and another user's token makes another cache.
TEST_F(ConversationDataTest, CachesAreThoseOfTheTemplate) {
  config.sources = {folder.write("a.jsonl", conversations(40))};
  EXPECT_FALSE(prepare().from_cache());
  EXPECT_TRUE(prepare().from_cache());
  config.chat.user = "<pad>";
  EXPECT_FALSE(prepare().from_cache());
}

}  // namespace
}  // namespace tandem
