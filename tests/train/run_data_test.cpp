#include "train/run_data.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/temporary_folder.h"

namespace tandem {
namespace {

struct RunDataTest : ::testing::Test {
  RunDataTest() {
    std::string conversations, texts;
    for (int i = 0; i < 60; ++i) {
      conversations += fmt::format("{{\"prompt\": \"What is {}?\", \"response\": \"A number, {}.\"}}\n", i, i);
      texts += fmt::format("{{\"text\": \"The number {} is a number.\"}}\n", i);
    }
    test::put_file(folder / "chat.jsonl", conversations);
    test::put_file(folder / "text.jsonl", texts);
    config.data.vocab_size = 300;
    config.data.sources = {folder / "text.jsonl"};
    config.model.max_seq_len = 64;
  }
  RunData prepare() { return prepare_run_data(config.data, pool, folder / "run"); }

  test::TemporaryFolder folder;
  RunConfig config;
  ThreadPool pool{2};
};

TEST_F(RunDataTest, TokenizersOfConversationsHaveTheTokensOfRoles) {
  config.data.sources = {folder / "chat.jsonl"};
  config.data.records = Records::conversations;
  RunData data = prepare();
  for (const char* token : {"<system>", "<user>", "<assistant>", "<s>", "</s>", "<pad>"}) {
    std::optional<int32_t> id = data.tokenizer.token_to_id(token);
    ASSERT_TRUE(id) << token;
    EXPECT_TRUE(data.tokenizer.is_special(*id)) << token;
  }
  EXPECT_EQ(objective_of(config), Objective::conversation);
  Batch batch = data.tokens.rows(64, 1).next_batch(1);
  EXPECT_EQ(batch.objective, Objective::conversation);
  EXPECT_GT(batch.labelled(), 0);
}

TEST_F(RunDataTest, OthersGetThemWhenAsked) {
  EXPECT_FALSE(prepare().tokenizer.token_to_id("<system>"));
  std::filesystem::remove_all(folder / "run");
  config.data.role_tokens = true;
  config.data.chat.assistant = "<bot>";
  RunData data = prepare();
  for (const char* token : {"<system>", "<user>", "<bot>"}) EXPECT_TRUE(data.tokenizer.token_to_id(token)) << token;
  EXPECT_EQ(objective_of(config), Objective::text);
}

TEST_F(RunDataTest, TheModelTakesWhatTheTokenizerSays) {
  RunData data = prepare();
  config.model.vocab_size = 0;
  ModelConfig model = model_config_of(config, data);
  EXPECT_EQ(model.vocab_size, data.tokenizer.vocab_size());
  EXPECT_EQ(model.bos_id, data.tokens.document_tokens().bos);
  EXPECT_EQ(model.eos_id, data.tokens.document_tokens().eos);
  config.model.vocab_size = 10;
  EXPECT_THROW(model_config_of(config, data), InputError);
}

TEST_F(RunDataTest, ADiskWithoutRoomForTheRestIsRefusedBeforeTokensAreWritten) {
  DiskPlan disk{.other_bytes = uint64_t{1} << 62};
  try {
    prepare_run_data(config.data, pool, folder / "run", disk);
    FAIL() << "no disk has room for this";
  } catch (const InputError& error) {
    EXPECT_NE(std::string(error.what()).find("checkpoints"), std::string::npos) << error.what();
  }
  EXPECT_FALSE(std::filesystem::exists(folder / "run" / "data"));
}

}  // namespace
}  // namespace tandem
