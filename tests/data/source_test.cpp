#include "data/source.h"

#include <map>
#include <set>

#include "base/hash.h"
#include "base/json.h"
#include "helpers.h"

namespace tandem {
namespace {

std::vector<std::string> documents_of(const std::vector<SourceFile>& files) {
  std::vector<std::string> documents;
  for_each_document(files, [&](std::string_view text) { documents.emplace_back(text); });
  return documents;
}

std::vector<std::string> documents_of(const std::vector<std::string>& paths) {
  return documents_of(list_sources(paths));
}

TEST(Sources, ATextFileIsOneDocument) {
  TemporaryFolder folder;
  std::string path = folder.write("a.txt", "One.\n\nTwo \xc3\xa9.\r\n");
  EXPECT_EQ(documents_of({path}), (std::vector<std::string>{"One.\n\nTwo \xc3\xa9.\r\n"}));
}

TEST(Sources, JsonLinesAreSplitOnLineFeedsOnly) {
  TemporaryFolder folder;
  // U+2028, NEL and CR are no line ends inside a record.
  std::string path = folder.write("a.jsonl",
                                  "{\"text\": \"a\xe2\x80\xa8 b\", \"id\": 1}\n"
                                  "\n"
                                  "{\"text\": \"c\xc2\x85\"}\r\n"
                                  "  \n"
                                  "{\"text\": \"d\\n\\u00e9\\ud83d\\ude00\"}");
  EXPECT_EQ(documents_of({path}),
            (std::vector<std::string>{"a\xe2\x80\xa8 b", "c\xc2\x85", "d\n\xc3\xa9\xf0\x9f\x98\x80"}));
}

TEST(Sources, FoldersGiveTheirTextsInTheOrderOfPaths) {
  TemporaryFolder folder;
  folder.write("b.txt", "b");
  folder.write("a/z.txt", "az");
  folder.write("a/y.jsonl", "{\"text\": \"ay\"}\n");
  folder.write("a/deep/x.txt", "adx");
  folder.write("c.md", "not text");
  folder.write("index.jsonl", "{\"file\": \"b.txt\"}\n");
  folder.write("empty.txt", "");
  folder.write("empty.jsonl", "");
  EXPECT_EQ(documents_of({folder.path().string()}), (std::vector<std::string>{"adx", "ay", "az", "b"}));
}

TEST(Sources, BadInputNamesItsPlace) {
  TemporaryFolder folder;
  auto error = [&](const std::string& name, const std::string& bytes) {
    std::string path = folder.write(name, bytes);
    return input_error_of([&] { documents_of({path}); });
  };
  EXPECT_NE(error("a.jsonl", "{\"text\": \"a\"}\n\n{\"text\": \n").find("a.jsonl:3"), std::string::npos);
  EXPECT_NE(error("b.jsonl", "{\"text\": \"a\"}\n{\"txt\": \"b\"}\n").find("b.jsonl:2"), std::string::npos);
  EXPECT_NE(error("c.jsonl", "{\"text\": 5}\n").find("c.jsonl:1"), std::string::npos);
  EXPECT_NE(error("d.jsonl", "[1]\n").find("d.jsonl:1"), std::string::npos);
  EXPECT_NE(error("e.jsonl", "{\"text\": \"\\ud800\"}\n").find("e.jsonl:1"), std::string::npos);
  EXPECT_NE(error("f.jsonl", "{\"text\": \"a\"}\n{\"text\": \"\xff\"}\n").find("f.jsonl:2, byte 24"),
            std::string::npos);
  EXPECT_NE(error("g.txt", "abc\xc3").find("g.txt, byte 3"), std::string::npos);
  EXPECT_NE(error("h.json", "[\"abc\"]").find("'.json'"), std::string::npos);
  EXPECT_EQ(documents_of({folder.write("README.md", "abc")}).size(), 1u);
  EXPECT_NE(input_error_of([&] { list_sources({folder.path() / "missing.txt"}); }).find("missing.txt"),
            std::string::npos);
  EXPECT_NE(input_error_of([&] { list_sources({folder.path() / "missing"}); }).find("missing"), std::string::npos);
  TemporaryFolder empty;
  std::filesystem::create_directory(empty.path() / "none");
  EXPECT_NE(input_error_of([&] { list_sources({empty.path() / "none"}); }).find("folder without text"),
            std::string::npos);
}

TEST(Sources, MalformedUtf8IsFoundWhereItStarts) {
  TemporaryFolder folder;
  // Overlong forms, surrogates, values above U+10FFFF, lone tails, cut sequences.
  for (const char* bad : {"\x80", "\xc0\xaf", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf",
                          "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xe2\x82", "\xf0\x9f\x98", "\xc3 ", "\xfe"}) {
    std::string path = folder.write("bad.txt", "\xe2\x82\xac\xf4\x8f\xbf\xbf\xed\x9f\xbf" + std::string(bad) + "x");
    EXPECT_NE(input_error_of([&] { list_sources({path}); }).find("byte 10:"), std::string::npos);
  }
}

TEST(Holdout, OneTextKeepsItsLastTwentiethBehindABoundary) {
  TemporaryFolder folder;
  Rng rng(3, 1);
  for (const std::string& end : {std::string("\n\n"), std::string("\n"), std::string(" "), std::string()}) {
    std::string text;
    while (text.size() < 5000) {
      for (uint32_t i = 0; i < 20 + rng.below(30); ++i) text += rng.below(4) ? "a" : "\xe2\x82\xac";
      text += end;
    }
    auto files = list_sources({folder.write("a.txt", text)});
    HoldoutRule rule = make_holdout_rule(files);
    EXPECT_EQ(rule.kind, HoldoutRule::Kind::kTails);
    SplitDocument parts = split_document(text, rule);
    EXPECT_EQ(std::string(parts.training) + std::string(parts.heldout), text);
    EXPECT_GE(parts.heldout.size(), text.size() / 20);
    EXPECT_LE(parts.heldout.size(), text.size() / 10);
    EXPECT_TRUE(parts.training.ends_with(end));
    EXPECT_NE(static_cast<unsigned char>(parts.heldout[0]) & 0xC0, 0x80);
  }
}

TEST(Holdout, AnyTextIsCutBetweenCharacters) {
  Rng rng(4, 1);
  HoldoutRule rule{.kind = HoldoutRule::Kind::kTails};
  for (int round = 0; round < 500; ++round) {
    std::string text;
    for (uint32_t n = rng.below(120); n > 0; --n) {
      constexpr const char* kPieces[] = {"a", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
      text += kPieces[rng.below(4)];
    }
    SplitDocument parts = split_document(text, rule);
    EXPECT_EQ(std::string(parts.training) + std::string(parts.heldout), text);
    EXPECT_EQ(parts.heldout.empty(), text.size() < 20);
    if (!parts.heldout.empty()) {
      EXPECT_NE(static_cast<unsigned char>(parts.heldout[0]) & 0xC0, 0x80);
    }
  }
}

TEST(Holdout, ManyDocumentsArePartedByTheirHashWhateverTheirOrder) {
  TemporaryFolder folder;
  std::string forward, backward;
  std::set<std::string> all;
  for (int i = 0; i < 2000; ++i) {
    std::string text = fmt::format("document {}", i), line = Json{{"text", text}}.dump() + "\n";
    forward += line;
    backward = line + backward;
    all.insert(text);
  }
  auto heldout_of = [&](const std::string& name, const std::string& lines) {
    auto files = list_sources({folder.write(name, lines)});
    HoldoutRule rule = make_holdout_rule(files);
    EXPECT_EQ(rule.kind, HoldoutRule::Kind::kDocuments);
    std::set<std::string> heldout;
    for_each_document(files, [&](std::string_view text) {
      SplitDocument parts = split_document(text, rule);
      EXPECT_NE(parts.training.empty(), parts.heldout.empty());
      if (!parts.heldout.empty()) heldout.insert(std::string(parts.heldout));
    });
    return heldout;
  };
  auto heldout = heldout_of("a.jsonl", forward);
  EXPECT_EQ(heldout, heldout_of("b.jsonl", backward));
  // 100 expected; standard deviation 9.7.
  EXPECT_NEAR(static_cast<double>(heldout.size()), 100, 50);
}

TEST(Holdout, TwentyDocumentsAlwaysLeaveSomethingOnBothSides) {
  TemporaryFolder folder;
  for (int round = 0; round < 30; ++round) {
    std::string lines;
    for (int i = 0; i < 20; ++i) lines += Json{{"text", fmt::format("text {} of {}", i, round)}}.dump() + "\n";
    auto files = list_sources({folder.write("a.jsonl", lines)});
    HoldoutRule rule = make_holdout_rule(files);
    int training = 0, heldout = 0;
    for_each_document(
        files, [&](std::string_view text) { ++(split_document(text, rule).heldout.empty() ? training : heldout); });
    EXPECT_GE(heldout, 1);
    EXPECT_GE(training, 10);
  }
}

}  // namespace
}  // namespace tandem
