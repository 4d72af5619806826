#include "infer/dialogue.h"

#include <gtest/gtest.h>

#include <numeric>

#include "arch/model_check.h"
#include "base/error.h"
#include "infer/chat_dialogue.h"
#include "infer/text_dialogue.h"
#include "text/bpe_trainer.h"

namespace tandem::test {
namespace {

constexpr int32_t kBos = 1, kEos = 2;

Tokenizer role_tokenizer() {
  BpeTrainer trainer(
      {.vocab_size = 320, .special_tokens = {"<pad>", "<s>", "</s>", "<user>", "<assistant>", "<system>"}});
  trainer.add("the cat sat on the mat and the dog sat on the log; who has the red key? the cat has the key");
  return Tokenizer::parse(trainer.train(), "test");
}

TextGeneration written(const Tokenizer& tokenizer, const std::string& text, FinishReason reason = FinishReason::eos) {
  TextGeneration out;
  out.text = text;
  out.tokens.ids = tokenizer.encode(text);
  if (reason == FinishReason::eos) out.tokens.ids.push_back(kEos);
  out.tokens.finish_reason = reason;
  return out;
}

class Chat : public testing::Test {
 protected:
  Tokenizer tokenizer_ = role_tokenizer();
  ChatTemplate template_{tokenizer_, ChatTokenNames(), kBos, kEos};
  ChatDialogue chat_{tokenizer_, ChatTokenNames(), kBos, {kEos}};

  std::string prompt_text() const { return tokenizer_.decode(chat_.prompt().ids()); }
  void turn(const std::string& user, const std::string& answer) {
    chat_.say(user);
    chat_.answer(written(tokenizer_, answer));
  }
};

TEST_F(Chat, ReadsWhatTrainingReads) {
  chat_.set_system("be kind");
  turn("who has the key?", "the cat");
  chat_.say("and the dog?");
  std::vector<ChatMessage> messages = chat_.messages();
  ASSERT_EQ(messages.size(), 4u);
  EXPECT_EQ(chat_.prompt().read, template_.prompt(messages));
  EXPECT_EQ(chat_.prompt().opening, template_.opening());
  EXPECT_EQ(prompt_text(),
            "<s><system>be kind<user>who has the key?<assistant>the cat</s><user>and the dog?<assistant>");
  EXPECT_THROW(chat_.say(""), InputError);
  EXPECT_THROW(chat_.say("\xff"), InputError);
  EXPECT_EQ(chat_.turns(), 2);
  EXPECT_EQ(tokenizer_.decode(chat_.ends()), "</s><system><user><assistant>");
}

TEST_F(Chat, AnswersStayTheTokensThatWereDrawn) {
  chat_.say("who?");
  TextGeneration spelled = written(tokenizer_, "");  // letter by letter, as no text is encoded
  spelled.text = "the cat";
  spelled.tokens.ids.clear();
  for (char letter : spelled.text) {
    for (int32_t id : tokenizer_.encode(std::string(1, letter))) spelled.tokens.ids.push_back(id);
  }
  ASSERT_NE(spelled.tokens.ids, tokenizer_.encode(spelled.text));
  chat_.answer(spelled);
  chat_.say("who?");
  std::vector<int32_t> read = chat_.prompt().read;
  auto at = std::search(read.begin(), read.end(), spelled.tokens.ids.begin(), spelled.tokens.ids.end());
  ASSERT_NE(at, read.end());
  EXPECT_EQ(*(at - 1), template_.opening());
  EXPECT_EQ(*(at + static_cast<std::ptrdiff_t>(spelled.tokens.ids.size())), kEos);
}

TEST_F(Chat, AnswersEndInSeveralWays) {
  const int32_t turn_end = tokenizer_.encode("z").front();
  ChatDialogue chat(tokenizer_, ChatTokenNames(), kBos, {kEos, turn_end});
  EXPECT_EQ(chat.ends()[1], turn_end);
  EXPECT_EQ(chat.ends().size(), 5u);
  chat.say("who?");
  TextGeneration ended = written(tokenizer_, "the cat", FinishReason::length);
  ended.tokens.ids.push_back(turn_end);
  ended.tokens.finish_reason = FinishReason::eos;
  ended.text = tokenizer_.decode(ended.tokens.ids, true);
  chat.answer(ended);
  chat.say("who?");
  EXPECT_EQ(tokenizer_.decode(chat.prompt().ids()).find("z</s>"), std::string::npos);
}

// A stop string is in the ids and not in the text; a token of another role would open a message.
TEST_F(Chat, AnswersThatAreMoreThanTheirTextAreEncodedAgain) {
  chat_.say("who?");
  TextGeneration stopped = written(tokenizer_, "the cat and the dog", FinishReason::stop);
  stopped.text = "the cat";
  chat_.answer(stopped);
  EXPECT_EQ(chat_.messages().back().content, "the cat");
  chat_.say("who?");
  EXPECT_EQ(prompt_text(), "<s><user>who?<assistant>the cat</s><user>who?<assistant>");
  chat_.undo();
  chat_.undo();
  chat_.say("who?");
  TextGeneration roles = written(tokenizer_, "the cat", FinishReason::length);
  roles.tokens.ids.insert(roles.tokens.ids.begin() + 1, *tokenizer_.token_to_id("<user>"));
  chat_.answer(roles);
  chat_.say("who?");
  EXPECT_EQ(prompt_text(), "<s><user>who?<assistant>the cat</s><user>who?<assistant>");
}

TEST_F(Chat, UndoAndRetractGoBackExactly) {
  turn("who has the key?", "the cat");
  chat_.say("and the dog?");
  Prompt before = chat_.prompt();
  EXPECT_FALSE(chat_.retract());  // not answered yet
  chat_.answer(written(tokenizer_, "the mat"));
  EXPECT_THROW(chat_.prompt(), InputError);
  EXPECT_TRUE(chat_.retract());
  EXPECT_EQ(chat_.prompt().ids(), before.ids());
  EXPECT_EQ(chat_.undo(), "and the dog?");
  chat_.say("and the dog?");
  EXPECT_EQ(chat_.prompt().ids(), before.ids());
  EXPECT_EQ(chat_.undo(), "and the dog?");
  EXPECT_EQ(chat_.undo(), "who has the key?");
  EXPECT_EQ(chat_.undo(), std::nullopt);
  EXPECT_TRUE(chat_.messages().empty());
}

TEST_F(Chat, TheSystemMessageStandsFirstAndNeedsItsToken) {
  turn("who?", "the cat");
  chat_.set_system("be kind");
  chat_.clear();
  chat_.say("who?");
  EXPECT_EQ(prompt_text(), "<s><system>be kind<user>who?<assistant>");
  chat_.set_system("");
  EXPECT_EQ(prompt_text(), "<s><user>who?<assistant>");
  BpeTrainer trainer({.vocab_size = 300});
  trainer.add("the cat");
  Tokenizer without = Tokenizer::parse(trainer.train(), "test");
  ChatDialogue none(without, ChatTokenNames(), kBos, {kEos});
  EXPECT_THROW(none.set_system("be kind"), InputError);
  EXPECT_EQ(none.system(), "");
}

TEST_F(Chat, LoadsWhatItTells) {
  chat_.set_system("be kind");
  turn("who has the key?", "the cat");
  chat_.say("who?");
  ChatDialogue other(tokenizer_, ChatTokenNames(), kBos, {kEos});
  other.load(chat_.messages());
  EXPECT_TRUE(other.waiting());
  EXPECT_EQ(other.prompt().ids(), chat_.prompt().ids());
  std::vector<ChatMessage> bad{{ChatRole::user, "\xff"}};
  EXPECT_THROW(other.load(bad), InputError);
  EXPECT_EQ(other.prompt().ids(), chat_.prompt().ids());
}

TEST_F(Chat, AFullConversationStopsOrDropsItsOldestTurns) {
  chat_.set_system("be kind");
  for (int i = 0; i < 6; ++i) turn("who has the key?", "the cat has the key");
  chat_.say("and the dog?");
  int64_t tokens = chat_.prompt().tokens();
  EXPECT_EQ(make_room(chat_, tokens + 4, 4, OnFull::drop), "");
  EXPECT_EQ(make_room(chat_, tokens + 1, 1 << 20, OnFull::stop), "");
  EXPECT_EQ(chat_.prompt().tokens(), tokens);
  EXPECT_THROW(make_room(chat_, tokens, 4, OnFull::stop), InputError);
  EXPECT_EQ(chat_.prompt().tokens(), tokens);

  std::string left_out = make_room(chat_, tokens, 4, OnFull::drop);
  EXPECT_NE(left_out.find("turns"), std::string::npos) << left_out;
  EXPECT_LE(chat_.prompt().tokens(), tokens / 2);
  EXPECT_EQ(prompt_text().substr(0, 24), "<s><system>be kind<user>");
  EXPECT_EQ(chat_.messages().size(), 14u);  // nothing is lost
  int64_t shorter = chat_.prompt().tokens();
  EXPECT_EQ(make_room(chat_, tokens, 4, OnFull::drop), "");  // once is enough
  EXPECT_EQ(chat_.prompt().tokens(), shorter);

  chat_.undo();
  chat_.say("and the dog?");
  EXPECT_EQ(chat_.prompt().tokens(), tokens) << "what was left out for a turn that is undone is read again";
  // The last turn by itself is too long.
  EXPECT_THROW(make_room(chat_, 8, 4, OnFull::drop), InputError);
}

class Growing : public testing::Test {
 protected:
  Tokenizer tokenizer_ = role_tokenizer();
  TextDialogue text_{tokenizer_, kBos, {kEos}};

  std::vector<int32_t> with_bos(const std::string& text) const {
    std::vector<int32_t> ids = tokenizer_.encode(text);
    ids.insert(ids.begin(), kBos);
    return ids;
  }
};

TEST_F(Growing, IsReadAsOneText) {
  EXPECT_THROW(text_.say(""), InputError);
  EXPECT_THROW(text_.prompt(), InputError);
  text_.say("the cat s");
  EXPECT_TRUE(text_.waiting());
  text_.answer(written(tokenizer_, "at on the m"));
  text_.say("at and the dog");  // ends the word that was begun
  EXPECT_EQ(text_.text(), "the cat sat on the mat and the dog");
  text_.answer(written(tokenizer_, " sat", FinishReason::length));
  text_.say("");  // nothing to add: the model goes on
  EXPECT_EQ(text_.text(), "the cat sat on the mat and the dog sat");
  EXPECT_EQ(text_.turns(), 3);
  EXPECT_EQ(text_.prompt().ids().front(), kBos);
}

TEST_F(Growing, TokensThatNoTextIsEncodedToStay) {
  text_.say("the cat");
  std::vector<int32_t> asked = text_.prompt().ids();
  TextGeneration spelled;
  spelled.text = " sat";
  for (char letter : spelled.text) {
    for (int32_t id : tokenizer_.encode(std::string(1, letter))) spelled.tokens.ids.push_back(id);
  }
  text_.answer(spelled);
  text_.say(" on the mat");
  std::vector<int32_t> expected = asked, more = tokenizer_.encode(" on the mat");
  expected.insert(expected.end(), spelled.tokens.ids.begin(), spelled.tokens.ids.end());
  expected.insert(expected.end(), more.begin(), more.end());
  EXPECT_EQ(text_.prompt().ids(), expected);
  // As long as they are the text's own, a new piece is encoded with it.
  text_.load("the cat");
  text_.say(" sat");
  EXPECT_EQ(text_.prompt().ids(), with_bos("the cat sat"));
}

TEST_F(Growing, UndoRetractAndStops) {
  text_.say("the cat");
  std::vector<int32_t> asked = text_.prompt().ids();
  TextGeneration stopped = written(tokenizer_, " sat on the mat", FinishReason::stop);
  stopped.text = " sat";
  text_.answer(stopped);
  EXPECT_EQ(text_.text(), "the cat sat");
  EXPECT_TRUE(text_.retract());
  EXPECT_FALSE(text_.retract());
  EXPECT_EQ(text_.prompt().ids(), asked);
  text_.answer(stopped);
  text_.say(" and");
  EXPECT_EQ(text_.prompt().ids(), with_bos("the cat sat and"));
  EXPECT_EQ(text_.undo(), " and");
  EXPECT_EQ(text_.text(), "the cat sat");
  EXPECT_EQ(text_.undo(), "the cat");
  EXPECT_EQ(text_.undo(), std::nullopt);
  EXPECT_EQ(text_.text(), "");
}

TEST_F(Growing, LeavesOutItsOldestTokens) {
  std::string long_text;
  for (int i = 0; i < 20; ++i) long_text += "the cat sat on the mat; ";
  text_.say(long_text);
  std::vector<int32_t> all = text_.prompt().ids();
  EXPECT_THROW(make_room(text_, 40, 8, OnFull::stop), InputError);
  EXPECT_NE(make_room(text_, 40, 8, OnFull::drop), "");
  std::vector<int32_t> kept = text_.prompt().ids();
  ASSERT_EQ(kept.size(), 20u);
  EXPECT_EQ(kept.front(), kBos);
  EXPECT_TRUE(std::equal(kept.begin() + 1, kept.end(), all.end() - 19));
  EXPECT_EQ(text_.text(), long_text);
}

// Every turn of a conversation through an engine: the same tokens as reading all of it anew, and only what is new is
// read. Where writing is reading, that is the user's turn; a double decoder reads its answer, too.
class TurnsByEngine : public testing::TestWithParam<Arch> {};

TEST_P(TurnsByEngine, ReadOnlyWhatIsNew) {
  Tokenizer tokenizer = role_tokenizer();
  ModelConfig config = small_config(GetParam());
  config.vocab_size = tokenizer.vocab_size();
  config.max_seq_len = 400;
  std::unique_ptr<Model> model = random_model(config, Precision::float32());
  Context ctx(1);
  model->parameters().pack(ctx, kernels::WeightFormat::f32);
  Engine engine(ctx, *model, {});
  Generator anew(ctx, *model);
  ChatDialogue chat(tokenizer, ChatTokenNames(), kBos, {kEos});
  GenerationOptions options{.max_tokens = 9, .eos = chat.ends()};
  options.sampling.temperature = 1;
  options.sampling.banned = {kBos};  // an answer with it would be encoded again
  int64_t known = 0;
  for (uint64_t turn = 0; turn < 5; ++turn) {
    options.sampling.seed = turn;
    chat.say("who has the key number " + std::to_string(turn) + "?");
    std::string streamed;
    EngineText text = generate_text(engine, tokenizer, chat.prompt(), options, {},
                                    [&](std::string_view piece) { streamed += piece; });
    EXPECT_EQ(text.written.tokens.ids, anew.run(chat.prompt(), options).ids) << turn;
    EXPECT_EQ(streamed, text.written.text);
    EXPECT_EQ(text.written.tokens.prompt_tokens, chat.prompt().tokens());
    EXPECT_GT(text.cache.live, 0);
    EXPECT_GE(text.cache.with_encoder, text.cache.live);
    EXPECT_GT(text.first_token_seconds, 0);
    EXPECT_EQ(text.reused_tokens, known) << turn;
    int64_t read = chat.prompt().tokens() - 1, ids = static_cast<int64_t>(text.written.tokens.ids.size());
    // Of the answer all but its last token went through the model; a last token that is the end is written after it.
    known = GetParam() == Arch::decoder ? read + ids : read;
    chat.answer(text.written);
  }
}

TEST_P(TurnsByEngine, AnExceptionOfTheListenerLeavesTheEngineUsable) {
  Tokenizer tokenizer = role_tokenizer();
  ModelConfig config = small_config(GetParam());
  config.vocab_size = tokenizer.vocab_size();
  config.max_seq_len = 64;
  std::unique_ptr<Model> model = random_model(config, Precision::float32());
  Context ctx(1);
  Engine engine(ctx, *model, {});
  Prompt prompt = Prompt::continue_text(encode_prompt(tokenizer, "the cat", kBos));
  GenerationOptions options{.max_tokens = 20};
  auto broken = [](std::string_view) { throw std::runtime_error("nobody listens"); };
  EXPECT_THROW(generate_text(engine, tokenizer, prompt, options, {}, broken), std::runtime_error);
  Generator anew(ctx, *model);
  EXPECT_EQ(generate_text(engine, tokenizer, prompt, options, {}).written.tokens.ids, anew.run(prompt, options).ids);
}

INSTANTIATE_TEST_SUITE_P(Archs, TurnsByEngine, testing::Values(Arch::decoder, Arch::double_decoder),
                         [](const auto& arch) { return std::string(arch_name(arch.param)); });

}  // namespace
}  // namespace tandem::test
