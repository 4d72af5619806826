#include "data/conversation.h"

#include "base/json.h"
#include "data/loader.h"
#include "data/packer.h"
#include "data/shard.h"
#include "data/source.h"
#include "helpers.h"

namespace tandem {
namespace {

std::vector<ChatMessage> parse(const char* record) { return parse_conversation(Json::parse(record), "here"); }

std::string written(std::span<const ChatMessage> messages) {
  std::string text;
  for (const ChatMessage& message : messages) {
    text += fmt::format("{}:{};", chat_role_name(message.role), message.content);
  }
  return text;
}

TEST(Conversation, BothFormsAreRead) {
  EXPECT_EQ(written(parse(R"({"prompt": "a", "response": "b", "task": 7})")), "user:a;assistant:b;");
  EXPECT_EQ(written(parse(R"({"id": 1, "messages": [{"role": "system", "content": "s", "name": "x"},
                              {"role": "user", "content": ""}, {"role": "assistant", "content": "\u00e9"}]})")),
            "system:s;user:;assistant:\u00e9;");
}

TEST(Conversation, TheHashIsOfRolesAndTexts) {
  auto hash = [](const char* record) { return hash_conversation(parse(record)); };
  uint64_t same = hash(R"({"prompt": "a", "response": "b"})");
  EXPECT_EQ(hash(R"({"response": "b", "prompt": "a", "task": "x"})"), same);
  EXPECT_EQ(hash(R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})"), same);
  EXPECT_NE(hash(R"({"messages": [{"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}]})"), same);
  EXPECT_NE(hash(R"({"prompt": "ab", "response": ""})"), same);
}

TEST(Conversation, BadRecordsNameFileLineAndKey) {
  TemporaryFolder folder;
  auto error = [&](const std::string& record) {
    std::string path = folder.write("a.jsonl", "{\"prompt\": \"p\", \"response\": \"r\"}\n\n" + record + "\n");
    return input_error_of(
        [&] { for_each_conversation(list_sources({path}, Records::conversations), [](auto, const std::string&) {}); });
  };
  struct Case {
    const char* record;
    const char* word;
  };
  for (const Case& bad :
       {Case{R"({"prompt": "p"})", "response"}, Case{R"({"response": "r"})", "prompt"},
        Case{R"({"prompt": 3, "response": "r"})", "prompt"}, Case{R"({"prompt": "p", "response": ["r"]})", "response"},
        Case{R"({"text": "t"})", "\"messages\""}, Case{R"({"messages": {}})", "messages"},
        Case{R"({"messages": []})", "answer"}, Case{R"({"messages": ["hi"]})", "messages[0]"},
        Case{R"({"messages": [{"role": "user", "content": "a"}]})", "answer"},
        Case{R"({"messages": [{"role": "bot", "content": "a"}]})", "'bot'"},
        Case{R"({"messages": [{"role": "assistant"}]})", "content"},
        Case{R"({"messages": [{"role": "assistant", "content": null}]})", "content"},
        Case{R"({"prompt": "p", "response": "r", "messages": []})", "two"}, Case{R"({"prompt": )", "a.jsonl:3"},
        Case{"[1]", "\"prompt\""}}) {
    std::string message = error(bad.record);
    EXPECT_NE(message.find("a.jsonl:3"), std::string::npos) << bad.record << " -> " << message;
    EXPECT_NE(message.find(bad.word), std::string::npos) << bad.record << " -> " << message;
  }
}

TEST(Conversation, FoldersGiveTheFilesThatHoldSome) {
  TemporaryFolder folder;
  folder.write("a.jsonl", R"({"prompt": "p", "response": "a"})");
  folder.write("b.jsonl", R"({"text": "no conversation"})");
  folder.write("c.txt", "no conversation either");
  folder.write("d.jsonl", R"({"messages": [{"role": "assistant", "content": "d"}]})");
  std::string all;
  for_each_conversation(list_sources({folder.path().string()}, Records::conversations),
                        [&](std::span<const ChatMessage> messages, const std::string&) { all += written(messages); });
  EXPECT_EQ(all, "user:p;assistant:a;assistant:d;");
  EXPECT_NE(input_error_of([&] { list_sources({folder.path() / "c.txt"}, Records::conversations); }).find("c.txt"),
            std::string::npos);
  folder.write("empty/e.txt", "text");
  EXPECT_NE(input_error_of([&] { list_sources({folder.path() / "empty"}, Records::conversations); }).find("\"prompt\""),
            std::string::npos);
}

// --- rows

constexpr PackRule kRule{.length = 20, .bos = 1, .eos = 2, .records = Records::conversations, .assistant = 4, .pad = 5};

struct Turn {
  std::vector<int32_t> ids;
  Role role;
};

std::vector<uint32_t> stored(const std::vector<Turn>& turns) {
  std::vector<int32_t> ids;
  std::vector<Role> roles;
  for (const Turn& turn : turns) {
    ids.insert(ids.end(), turn.ids.begin(), turn.ids.end());
    roles.resize(ids.size(), turn.role);
  }
  return mark_responses(ids, roles);
}

// BOS, user, `prompt` tokens, assistant, `answer` tokens, EOS: prompt + answer + 4 tokens.
std::vector<uint32_t> conversation(int32_t prompt, int32_t answer) {
  std::vector<int32_t> asked{1, 3}, answered{4};
  for (int32_t i = 0; i < prompt; ++i) asked.push_back(10 + i);
  for (int32_t i = 0; i < answer; ++i) answered.push_back(50 + i);
  answered.push_back(2);
  return stored({{asked, Role::prompt}, {answered, Role::response}});
}

std::vector<std::filesystem::path> golden_files() {
  std::filesystem::path root = TANDEM_SOURCE_DIR;
  std::vector<std::filesystem::path> files{root / "tests/golden/collators/conversations.json"};
  auto whole = root / "../shared/golden/collators/collators.json";
  if (std::filesystem::exists(whole)) files.push_back(whole);
  return files;
}

using Ids = std::vector<int32_t>;

Ids padded(Ids ids, int64_t length, int32_t pad) {
  ids.resize(static_cast<size_t>(length), pad);
  return ids;
}

// What of a row has one role.
Ids part_of(const Batch& row, const Ids& values, Role role) {
  Ids part;
  for (size_t t = 0; t < values.size(); ++t) {
    if (row.roles[t] == role) part.push_back(values[t]);
  }
  return part;
}

struct GoldenRow {
  Json item;
  size_t number;
  Batch row;
  PackRule rule;
};

// Each conversation of the recorded cases as a row of its own.
std::vector<GoldenRow> golden_rows(const std::filesystem::path& file, const std::string& kind) {
  std::vector<GoldenRow> rows;
  for (const Json& item : read_json(file)) {
    if (item["class"] != kind) continue;
    const Json& params = item["params"];
    PackRule rule = kRule;
    rule.length = params["max_seq_len"];
    rule.bos = params["bos_token_id"];
    rule.eos = params["eos_token_id"];
    rule.pad = params["pad_token_id"];
    for (size_t i = 0; i < item["input"].size(); ++i) {
      Ids prompt{rule.bos}, asked = item["input"][i]["input_ids"], answer = item["input"][i]["output_ids"];
      prompt.insert(prompt.end(), asked.begin(), asked.end());
      answer.push_back(rule.eos);
      ConversationPacker packer(rule);
      auto ids = stored({{prompt, Role::prompt}, {answer, Role::response}});
      EXPECT_EQ(packer.add(ids), ConversationPacker::Outcome::taken);
      Batch row = empty_batch(rule);
      packer.append_to(row);
      rows.push_back({item, i, row, rule});
    }
  }
  return rows;
}

TEST(ConversationPacker, RowsAndLabelsAreThoseOfTheAuthorsForOneStack) {
  for (const auto& file : golden_files()) {
    std::vector<GoldenRow> rows = golden_rows(file, "DecoderSFTCollator");
    EXPECT_EQ(rows.size(), 4u) << file;
    for (const GoldenRow& golden : rows) {
      EXPECT_EQ(golden.row.ids, golden.item["output"]["input_ids"][golden.number].get<Ids>());
      EXPECT_EQ(golden.row.labels, golden.item["output"]["labels"][golden.number].get<Ids>());
      EXPECT_TRUE(golden.row.isolated);
      EXPECT_EQ(golden.row.objective, Objective::conversation);
    }
  }
}

TEST(ConversationPacker, ReaderAndWriterAreThoseOfTheAuthorsForTwo) {
  for (const auto& file : golden_files()) {
    std::vector<GoldenRow> rows = golden_rows(file, "DDSFTCollator");
    EXPECT_EQ(rows.size(), 5u) << file;
    for (const GoldenRow& golden : rows) {
      const Json& output = golden.item["output"];
      const Batch& row = golden.row;
      auto recorded = [&](const char* name) { return output[name][golden.number].get<Ids>(); };
      auto length = golden.rule.length;
      Ids reader = part_of(row, row.ids, Role::prompt), writer = part_of(row, row.ids, Role::response);
      EXPECT_EQ(padded(reader, length, golden.rule.pad), recorded("encoder_input_ids"));
      EXPECT_EQ(padded(writer, length, golden.rule.pad), recorded("decoder_input_ids"));
      EXPECT_EQ(padded(part_of(row, row.labels, Role::response), length, kIgnoreLabel), recorded("labels"));
      Ids positions = recorded("decoder_input_positions");
      positions.resize(writer.size());
      EXPECT_EQ(part_of(row, row.positions, Role::response), positions);
      EXPECT_EQ(static_cast<int64_t>(reader.size()), output["blocks"][golden.number].get<int64_t>());
      EXPECT_EQ(part_of(row, row.labels, Role::prompt), Ids(reader.size(), kIgnoreLabel));
    }
  }
}

TEST(ConversationPacker, EveryResponseIsLearntAndNoRoleToken) {
  ConversationPacker packer(kRule);
  packer.add(stored({{{1, 3, 10}, Role::prompt},
                     {{4, 50, 2}, Role::response},
                     {{3, 11}, Role::prompt},
                     {{4, 51, 2}, Role::response},
                     {{4, 2}, Role::response}}));
  packer.add(stored({{{1, 3, 12}, Role::prompt}, {{4, 2}, Role::response}}));
  Batch batch = empty_batch(kRule);
  packer.append_to(batch);
  constexpr int32_t kNo = kIgnoreLabel;
  EXPECT_EQ(batch.ids, (Ids{1, 3, 10, 4, 50, 2, 3, 11, 4, 51, 2, 4, 2, 1, 3, 12, 4, 2, 5, 5}));
  EXPECT_EQ(batch.labels,
            (Ids{kNo, kNo, kNo, 50, 2, kNo, kNo, kNo, 51, 2, kNo, 2, kNo, kNo, kNo, kNo, 2, kNo, kNo, kNo}));
  EXPECT_EQ(batch.positions, (Ids{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 1, 2, 3, 4, 0, 1}));
  EXPECT_EQ(batch.segments, (Ids{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2}));
  EXPECT_EQ(batch.roles[2], Role::prompt);
  EXPECT_EQ(batch.roles[5], Role::response);
  EXPECT_EQ(batch.roles[17], Role::response);
  EXPECT_EQ(batch.roles[18], Role::padding);
}

TEST(ConversationPacker, ConversationsStayWhole) {
  ConversationPacker packer(kRule);
  EXPECT_EQ(packer.add(conversation(5, 3)), ConversationPacker::Outcome::taken);     // 12 tokens
  EXPECT_EQ(packer.add(conversation(2, 3)), ConversationPacker::Outcome::row_full);  // 9 of 8
  EXPECT_EQ(packer.add(conversation(2, 2)), ConversationPacker::Outcome::taken);
  EXPECT_EQ(packer.tokens(), 20);
  EXPECT_EQ(packer.add(conversation(8, 9)), ConversationPacker::Outcome::dropped);  // 21, whatever is free
  packer.clear();
  EXPECT_EQ(packer.add(conversation(8, 8)), ConversationPacker::Outcome::taken);
}

TEST(ConversationPacker, TooLongOnesLoseTheirBeginning) {
  PackRule rule = kRule;
  rule.length = 8;
  rule.long_conversations = LongConversations::truncate;
  auto row_of = [&](const std::vector<uint32_t>& ids) {
    ConversationPacker packer(rule);
    Batch batch = empty_batch(rule);
    if (packer.add(ids) == ConversationPacker::Outcome::taken) packer.append_to(batch);
    return batch;
  };
  // 1 3 10 11 12 13 4 50 51 2 -> BOS and the last seven.
  Batch row = row_of(conversation(4, 2));
  EXPECT_EQ(row.ids, (Ids{1, 11, 12, 13, 4, 50, 51, 2}));
  EXPECT_EQ(row.labels, (Ids{-100, -100, -100, -100, 50, 51, 2, -100}));
  // The longest answer that keeps one token before it, and one that is too long.
  EXPECT_EQ(row_of(conversation(4, 4)).ids, (Ids{1, 13, 4, 50, 51, 52, 53, 2}));
  EXPECT_EQ(row_of(conversation(4, 5)).rows, 0);
  // A response that is cut is not learnt any more; the last one is.
  row = row_of(stored({{{1, 3, 10}, Role::prompt},
                       {{4, 50, 51, 2}, Role::response},
                       {{3, 11}, Role::prompt},
                       {{4, 52, 2}, Role::response}}));
  EXPECT_EQ(row.ids, (Ids{1, 51, 2, 3, 11, 4, 52, 2}));
  EXPECT_EQ(row.labels, (Ids{-100, -100, -100, -100, -100, 52, 2, -100}));
  EXPECT_EQ(row.roles[1], Role::prompt);
  // What nobody answers stays at the end.
  row = row_of(stored({{{1, 3, 10, 11, 12}, Role::prompt}, {{4, 50, 2}, Role::response}, {{3, 13}, Role::prompt}}));
  EXPECT_EQ(row.ids, (Ids{1, 11, 12, 4, 50, 2, 3, 13}));
  EXPECT_EQ(row.labels, (Ids{-100, -100, -100, 50, 2, -100, -100, -100}));
  // With `drop` none of them comes.
  rule.long_conversations = LongConversations::drop;
  EXPECT_EQ(row_of(conversation(4, 2)).rows, 0);
}

}  // namespace
}  // namespace tandem
