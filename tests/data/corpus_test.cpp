// What is trained on and what is held out, over files, names, orders, compression and copies.
#include "data/corpus.h"

#include <zstd.h>

#include <map>
#include <set>

#include "base/deflate.h"
#include "base/hash.h"
#include "base/json.h"
#include "data/conversation.h"
#include "helpers.h"

namespace tandem {
namespace {

using test::gzip;

using Texts = std::multiset<std::string>;

struct Parts {
  Texts training;
  Texts heldout;
  std::vector<size_t> sources;  // of the training documents
  int64_t left_out = 0;
};

std::string text_of(const CorpusDocument& document) {
  std::string text(document.text);
  for (const ChatMessage& message : document.messages) {
    text += fmt::format("{}:{};", chat_role_name(message.role), message.content);
  }
  return text;
}

Parts parts_of(const DataConfig& config) {
  Parts parts;
  parts.left_out = Corpus(config).for_each([&](const CorpusDocument& document) {
    bool training = document.part == CorpusPart::kTraining;
    (training ? parts.training : parts.heldout).insert(text_of(document));
    if (training) parts.sources.push_back(document.source);
  });
  return parts;
}

std::string line_of(const std::string& text) { return Json{{"text", text}}.dump() + "\n"; }

std::string zstd(const std::string& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

struct CorpusTest : ::testing::Test {
  TemporaryFolder folder;
  DataConfig config;
};

TEST_F(CorpusTest, WhatIsHeldOutDependsOnTheTextsAlone) {
  std::string one, backwards;
  std::vector<std::string> files(7);
  for (int i = 0; i < 400; ++i) {
    std::string line = line_of(fmt::format("document {}", i));
    one += line;
    backwards = line + backwards;
    files[static_cast<size_t>(i) % 7] += line;
  }
  config.sources = {folder.write("one.jsonl", one)};
  Parts expected = parts_of(config);
  EXPECT_GT(expected.heldout.size(), 5u);
  EXPECT_LT(expected.heldout.size(), 40u);
  config.sources = {folder.write("other-name.jsonl", backwards)};
  EXPECT_EQ(parts_of(config).heldout, expected.heldout);
  for (size_t i = 0; i < files.size(); ++i) folder.write(fmt::format("many/{}.jsonl", i), files[i]);
  config.sources = {(folder.path() / "many").string()};
  EXPECT_EQ(parts_of(config).heldout, expected.heldout);
  EXPECT_EQ(parts_of(config).training, expected.training);
  // More documents change nothing for those that were there.
  config.sources.push_back(folder.write("more.jsonl", line_of("a") + line_of("b") + line_of("c")));
  Texts more = parts_of(config).heldout;
  for (const std::string& text : expected.heldout) EXPECT_EQ(more.count(text), 1u);
}

TEST_F(CorpusTest, CopiesOfADocumentStayOnOneSide) {
  std::string a, b;
  for (int i = 0; i < 200; ++i) {
    a += line_of(fmt::format("document {}", i % 80));
    b += line_of(fmt::format("document {}", i % 50));
  }
  config.sources = {folder.write("a.jsonl", a), folder.write("b.jsonl", b)};
  Parts parts = parts_of(config);
  EXPECT_EQ(parts.training.size() + parts.heldout.size(), 400u);
  EXPECT_FALSE(parts.heldout.empty());
  for (const std::string& text : parts.heldout) EXPECT_EQ(parts.training.count(text), 0u);
}

TEST_F(CorpusTest, CopiesOfHeldOutFilesAreNotTrainedOn) {
  config.sources = {folder.write("a.jsonl", line_of("one") + line_of("two") + line_of("one") + line_of("three"))};
  config.heldout = {folder.write("h.jsonl", line_of("one") + line_of("four"))};
  Parts parts = parts_of(config);
  EXPECT_EQ(parts.training, (Texts{"two", "three"}));
  EXPECT_EQ(parts.heldout, (Texts{"one", "four"}));
  EXPECT_EQ(parts.left_out, 2);
}

TEST_F(CorpusTest, TheShareIsTheOneThatWasAskedFor) {
  std::string lines;
  for (int i = 0; i < 3000; ++i) lines += line_of(fmt::format("document {}", i));
  config.sources = {folder.write("a.jsonl", lines)};
  Texts smaller;
  uint64_t fingerprint = Corpus(config).fingerprint();
  for (double share : {0.01, 0.05, 0.25, 0.5}) {
    config.heldout_share = share;
    Texts heldout = parts_of(config).heldout;
    double deviation = std::sqrt(3000 * share * (1 - share));
    EXPECT_NEAR(static_cast<double>(heldout.size()), 3000 * share, 4 * deviation);
    // A larger share holds out what a smaller one does, and more.
    for (const std::string& text : smaller) EXPECT_EQ(heldout.count(text), 1u);
    smaller = heldout;
  }
  EXPECT_NE(Corpus(config).fingerprint(), fingerprint);
  std::string text;
  for (int i = 0; i < 1000; ++i) text += fmt::format("This is line {}.\n", i);
  config.sources = {folder.write("one.txt", text)};
  config.heldout_share = 0.25;
  Parts parts = parts_of(config);
  ASSERT_EQ(parts.heldout.size(), 1u);
  EXPECT_EQ(*parts.training.begin() + *parts.heldout.begin(), text);
  EXPECT_NEAR(static_cast<double>(parts.heldout.begin()->size()), static_cast<double>(text.size()) / 4, 30);
  for (double bad : {0.0, -0.1, 0.51, 1.0}) {
    config.heldout_share = bad;
    EXPECT_NE(input_error_of([&] { Corpus corpus(config); }).find("data.heldout_share"), std::string::npos);
  }
}

TEST_F(CorpusTest, CompressedFilesGiveTheSameDocuments) {
  std::string lines, text;
  for (int i = 0; i < 500; ++i) {
    lines += line_of(fmt::format("document {} \xe2\x82\xac", i));
    text += fmt::format("Line {} of the text \xc3\xa9.\n", i);
  }
  config.sources = {folder.write("plain/a.jsonl", lines), folder.write("plain/b.txt", text)};
  Parts expected = parts_of(config);
  folder.write("mixed/a.jsonl.zst", zstd(lines));
  folder.write("mixed/b.txt.gz", gzip(text));
  config.sources = {(folder.path() / "mixed").string()};
  Parts mixed = parts_of(config);
  EXPECT_EQ(mixed.training, expected.training);
  EXPECT_EQ(mixed.heldout, expected.heldout);
  // Several members, cut inside a line and inside a character.
  size_t cut = lines.find("\xe2\x82\xac") + 1;
  config.sources = {folder.write("c.jsonl.gz", gzip(lines.substr(0, cut)) + gzip(lines.substr(cut))),
                    folder.write("d.txt.zst", zstd(text.substr(0, 100)) + zstd(text.substr(100)))};
  Parts members = parts_of(config);
  EXPECT_EQ(members.training, expected.training);
  EXPECT_EQ(members.heldout, expected.heldout);
}

TEST_F(CorpusTest, DamagedArchivesAndTextsAreRefusedWithTheirPlace) {
  auto error = [&](const std::string& name, const std::string& bytes) {
    config.sources = {folder.write(name, bytes)};
    return input_error_of([&] { parts_of(config); });
  };
  std::string lines;
  for (int i = 0; i < 2000; ++i) lines += line_of(fmt::format("document {}", i * i));
  for (const auto& [name, bytes] : {std::pair(std::string("a.jsonl.gz"), gzip(lines)), {"a.jsonl.zst", zstd(lines)}}) {
    EXPECT_NE(error(name, bytes.substr(0, bytes.size() / 2)).find(name), std::string::npos);
    EXPECT_NE(error(name, bytes.substr(0, bytes.size() / 2)).find("damaged"), std::string::npos);
  }
  EXPECT_NE(error("b.jsonl.gz", "{}").find("damaged gzip"), std::string::npos);
  EXPECT_NE(error("c.jsonl.gz", gzip("{\"text\": \"a\"}\n{\"txt\": \"b\"}\n")).find("c.jsonl.gz:2"), std::string::npos);
  EXPECT_NE(error("d.jsonl.zst", zstd("{\"text\": \"a\"}\n{\"text\": \"\xff\"}\n")).find("d.jsonl.zst:2, byte 24"),
            std::string::npos);
  // The character begins in one member and is wrong in the next.
  EXPECT_NE(error("e.txt.gz", gzip("ab\xe2\x82") + gzip("c")).find("e.txt.gz, byte 2"), std::string::npos);
}

TEST_F(CorpusTest, ConversationsAreHeldOutByTheirMessages) {
  std::string pairs, lists;
  for (int i = 0; i < 300; ++i) {
    std::string ask = fmt::format("How much is {}?", i), answer = fmt::format("{}", i);
    pairs += Json{{"prompt", ask}, {"response", answer}, {"number", i}}.dump() + "\n";
    Json messages = {{{"role", "user"}, {"content", ask}}, {{"role", "assistant"}, {"content", answer}}};
    lists = Json{{"messages", messages}, {"source", "elsewhere"}}.dump() + "\n" + lists;
  }
  config.records = Records::conversations;
  config.sources = {folder.write("a.jsonl", pairs)};
  Parts expected = parts_of(config);
  EXPECT_GT(expected.heldout.size(), 3u);
  EXPECT_EQ(expected.heldout.size() + expected.training.size(), 300u);
  config.sources = {folder.write("b.jsonl.gz", gzip(lists))};
  EXPECT_EQ(parts_of(config).heldout, expected.heldout);
  // Both together: no conversation on both sides.
  config.sources = {folder.write("a.jsonl", pairs), (folder.path() / "b.jsonl.gz").string()};
  Parts both = parts_of(config);
  EXPECT_EQ(both.heldout.size(), 2 * expected.heldout.size());
  for (const std::string& text : both.heldout) EXPECT_EQ(both.training.count(text), 0u);
  config.sources = {"synthetic"};
  EXPECT_NE(input_error_of([&] { Corpus corpus(config); }).find("conversations"), std::string::npos);
}

TEST_F(CorpusTest, FewConversationsLeaveOneToHoldOut) {
  config.records = Records::conversations;
  std::string lines;
  for (int i = 0; i < 4; ++i) lines += Json{{"prompt", fmt::format("{}", i)}, {"response", "r"}}.dump() + "\n";
  config.sources = {folder.write("a.jsonl", lines)};
  Parts parts = parts_of(config);
  EXPECT_GE(parts.heldout.size(), 1u);
  EXPECT_GE(parts.training.size(), 1u);
  EXPECT_EQ(parts.heldout.size() + parts.training.size(), 4u);
}

TEST_F(CorpusTest, DocumentsComeSourceBySource) {
  config.sources = {folder.write("b.jsonl", line_of("1") + line_of("2")), "synthetic",
                    folder.write("a.jsonl", line_of("3"))};
  config.heldout = {folder.write("h.txt", "held out")};
  config.synthetic_bytes = 3000;
  Parts parts = parts_of(config);
  EXPECT_TRUE(std::is_sorted(parts.sources.begin(), parts.sources.end()));
  EXPECT_EQ(std::count(parts.sources.begin(), parts.sources.end(), 0u), 2);
  EXPECT_GT(std::count(parts.sources.begin(), parts.sources.end(), 1u), 1);
  EXPECT_EQ(std::count(parts.sources.begin(), parts.sources.end(), 2u), 1);
}

TEST_F(CorpusTest, TheSizeOfTheTextIsEstimatedWithoutWhatRecordsHoldBeside) {
  std::string lines;
  uint64_t text = 0;
  for (int i = 0; i < 300; ++i) {
    std::string body(static_cast<size_t>(100 + i % 7), 'x');
    text += body.size();
    lines += Json{{"text", body}, {"url", std::string(400, 'u')}}.dump() + "\n";
  }
  config.sources = {folder.write("a.jsonl", lines)};
  auto estimate = static_cast<double>(Corpus(config).estimated_text_bytes());
  EXPECT_NEAR(estimate, static_cast<double>(text), 0.02 * static_cast<double>(text));
}

TEST_F(CorpusTest, MadeUpTextsStandBesideEachOther) {
  config.sources = {"synthetic_copy", "synthetic_mqar", "synthetic"};
  config.synthetic_bytes = 20'000;
  Parts parts = parts_of(config);
  std::map<size_t, int64_t> bytes;
  size_t i = 0;
  Corpus(config).for_each([&](const CorpusDocument& document) {
    if (document.part != CorpusPart::kTraining) return;
    const std::vector<std::string> beginnings{"Copy: ", "Pairs: ", "This is a story"};
    EXPECT_TRUE(document.text.starts_with(beginnings[document.source])) << document.text;
    bytes[document.source] += static_cast<int64_t>(document.text.size());
    ++i;
  });
  EXPECT_EQ(i, parts.training.size());
  for (size_t source : {0, 1, 2}) {
    EXPECT_GE(bytes[source], 20'000);
    EXPECT_LT(bytes[source], 25'000);
  }
  // Held out are texts of other random numbers, of every kind.
  std::map<char, int> kinds;
  for (const std::string& text : parts.heldout) {
    ++kinds[text[0]];
    EXPECT_TRUE(text.size() <= 40 || parts.training.count(text) == 0) << text;
  }
  EXPECT_EQ(kinds.size(), 3u);
  uint64_t all = Corpus(config).fingerprint();
  config.sources = {"synthetic_copy", "synthetic"};
  EXPECT_NE(Corpus(config).fingerprint(), all);
  config.sources = {"synthetic_mqar", "synthetic"};
  EXPECT_NE(Corpus(config).fingerprint(), all);
  config.heldout = {"synthetic_copy"};
  for (const std::string& text : parts_of(config).heldout) EXPECT_TRUE(text.starts_with("Copy: "));
}

}  // namespace
}  // namespace tandem
