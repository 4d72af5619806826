#include "eval/choice.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "arch/model_check.h"
#include "base/error.h"
#include "base/json.h"
#include "base/temporary_folder.h"
#include "eval/greedy_text.h"
#include "eval/likelihood.h"
#include "text/bpe_trainer.h"

namespace tandem::test {
namespace {

ChoiceSet read(const std::string& text, int64_t most = 0) {
  TemporaryFolder folder;
  put_file(folder / "set.jsonl", text);
  return read_choice_set(folder / "set.jsonl", most);
}

// "context|text" of each candidate, a mark of its truth in front.
std::vector<std::string> shown(const ChoiceItem& item) {
  std::vector<std::string> all;
  for (const Candidate& c : item.candidates) {
    const std::map<Truth, char> marks{{Truth::right, '+'},
                                      {Truth::also_right, '~'},
                                      {Truth::wrong, '-'},
                                      {Truth::first_form, '1'},
                                      {Truth::second_form, '2'}};
    all.push_back(marks.at(c.truth) + c.context + "|" + c.text);
  }
  return all;
}

struct FormatCase {
  std::string format;
  std::string record;
  std::vector<std::string> candidates;
  std::string group;
};

// One record of every format, and what is to be scored by the rules of docs/evaluation.md.
std::vector<FormatCase> format_cases() {
  return {
      {"choice",
       R"J({"context": "2 + 2 =", "choices": [" 4", " 5"], "answer": 0, "group": "sums"})J",
       {"+2 + 2 =| 4", "-2 + 2 =| 5"},
       "sums"},
      {"hellaswag",
       R"J({"ind": 2, "ctx": "Rowing: A man", "label": 1, "endings": ["flies.", "rows.", "sits."]})J",
       {"-Rowing: A man| flies.", "+Rowing: A man| rows.", "-Rowing: A man| sits."},
       ""},
      {"piqa",
       R"J({"goal": "dry a dish", "sol1": "use a towel", "sol2": "use a lake", "label": 0})J",
       {"+Question: dry a dish\nAnswer:| use a towel", "-Question: dry a dish\nAnswer:| use a lake"},
       ""},
      {"copa",
       R"J({"id": 1, "asks_for": "cause", "most_plausible_alternative": 2, "p": "The grass was wet. ", "a1": "It was old.", "a2": "It rained."})J",
       {"-The grass was wet because| it was old.", "+The grass was wet because| it rained."},
       ""},
      {"copa",
       R"J({"id": 2, "asks_for": "effect", "most_plausible_alternative": 1, "p": "It rained.", "a1": "I got wet.", "a2": "I sang."})J",
       {"+It rained therefore| i got wet.", "-It rained therefore| i sang."},
       ""},
      {"blimp",
       R"J({"sentence_good": "Who is it?", "sentence_bad": "Who it is?", "UID": "island", "pairID": "0"})J",
       {"+|Who is it?", "-|Who it is?"},
       "island"},
      {"truthfulqa",
       R"J({"Question": "Why?", "Best Answer": "No reason", "Correct Answers": "Nothing; No reason; None", "Incorrect Answers": "Magic; Luck"})J",
       {"+Q: Why?\nA:| No reason", "~Q: Why?\nA:| Nothing", "~Q: Why?\nA:| None", "-Q: Why?\nA:| Magic",
        "-Q: Why?\nA:| Luck"},
       ""},
      {"winogender",
       R"J({"occupation(0)": "cook", "other-participant(1)": "guest", "answer": "1", "sentence": "The $OCCUPATION told the $PARTICIPANT that $NOM_PRONOUN lost $POSS_PRONOUN hat and met $ACC_PRONOUN."})J",
       {"-|The cook told the guest that the cook lost the cook's hat and met the cook.",
        "+|The cook told the guest that the guest lost the guest's hat and met the guest.",
        "1|The cook told the guest that he lost his hat and met him.",
        "2|The cook told the guest that she lost her hat and met her."},
       ""},
      {"aqua",
       R"J({"question": "1 + 1?", "options": ["A)2", "B)3"], "rationale": "", "correct": "B"})J",
       {"-Question: 1 + 1?\nAnswer:| A)2", "+Question: 1 + 1?\nAnswer:| B)3"},
       ""},
      {"bbh",
       R"J({"task": "dates", "input": "Which day?\nOptions:\n(A) one\n(B) two (2)", "target": "(B)"})J",
       {"-Q: Which day?\nOptions:\n(A) one\n(B) two (2)\nA:| (A)",
        "+Q: Which day?\nOptions:\n(A) one\n(B) two (2)\nA:| (B)"},
       "dates"},
      {"bbh",
       R"J({"task": "fallacies", "input": "True?\nOptions:\n- valid \n- invalid", "target": "invalid"})J",
       {"-Q: True?\nOptions:\n- valid \n- invalid\nA:| valid", "+Q: True?\nOptions:\n- valid \n- invalid\nA:| invalid"},
       "fallacies"},
      {"bbh", R"J({"task": "sums", "input": "1 + 1 =", "target": "2"})J", {"+Q: 1 + 1 =\nA:| 2"}, "sums"},
      {"lambada", R"J({"text": "He looked at the\nold house"})J", {"+He looked at the\nold| house"}, ""},
  };
}

TEST(ChoiceFormats, MakeOfARecordWhatTheDocsSay) {
  std::map<std::string, int> seen;
  for (const FormatCase& c : format_cases()) {
    ChoiceSet set = read(c.record + "\n");
    EXPECT_EQ(set.format, c.format);
    ASSERT_EQ(set.items.size(), 1u);
    EXPECT_EQ(shown(set.items[0]), c.candidates) << c.record;
    EXPECT_EQ(set.items[0].group, c.group);
    EXPECT_EQ(set.items[0].line, 1);
    Asks asks = c.format == "lambada" ? Asks::tokens : c.candidates.size() == 1 ? Asks::text : Asks::choice;
    EXPECT_EQ(set.items[0].asks, asks) << c.record;
    ++seen[c.format];
  }
  ChoiceSet numbers = read(R"J({"sentence": "a dog has <mask> legs", "answer": "four"})J");
  ASSERT_EQ(numbers.items[0].candidates.size(), 12u);
  EXPECT_EQ(shown(numbers.items[0])[0], "-|a dog has no legs");
  EXPECT_EQ(shown(numbers.items[0])[5], "+|a dog has four legs");
  ++seen["numersense"];
  EXPECT_EQ(seen.size(), choice_formats().size());  // every format was here
}

TEST(ChoiceFormats, RefuseBadRecordsWithFileAndLine) {
  auto refusal = [](const std::string& line) {
    return message_of<InputError>([&] {
      read(R"J({"context": "a", "choices": ["b", "c"], "answer": 0})J"
           "\n\n" +
           line);
    });
  };
  EXPECT_NE(refusal("{").find("set.jsonl:3"), std::string::npos);
  EXPECT_NE(refusal(R"J({"context": "a", "choices": ["b", "c"], "answer": 2})J").find("set.jsonl:3"),
            std::string::npos);
  EXPECT_NE(refusal(R"J({"context": "a", "choices": ["b"], "answer": 0})J").find("'choices'"), std::string::npos);
  EXPECT_NE(refusal(R"J({"context": 5, "choices": ["b", "c"], "answer": 0})J").find("'context'"), std::string::npos);
  EXPECT_NE(refusal(R"J({"context": "a", "choices": ["b", "c"]})J").find("answer"), std::string::npos);
  EXPECT_THROW(read(R"J({"question": "a"})J"), InputError);
  EXPECT_THROW(read("[1]"), InputError);
  EXPECT_THROW(read("\n"), InputError);
  EXPECT_THROW(read_choice_set("/no/such/file.jsonl"), InputError);
}

TEST(ChoiceFormats, ItemsAreSpreadEvenly) {
  std::string text;
  for (int i = 0; i < 10; ++i) {
    text += fmt::format("{{\"context\": \"{}\", \"choices\": [\"b\", \"c\"], \"answer\": 0}}\n", i);
  }
  std::vector<std::string> contexts;
  for (const ChoiceItem& item : read(text, 4).items) contexts.push_back(item.candidates[0].context);
  EXPECT_EQ(contexts, (std::vector<std::string>{"0", "2", "5", "7"}));
  EXPECT_EQ(read(text, 11).items.size(), 10u);
}

Tokenizer small_tokenizer() {
  TrainBpeOptions options;
  options.vocab_size = 280;
  return Tokenizer::parse(train_bpe({"the key is in the barn the key is in the barn the goat is in the barn"}, options),
                          "test");
}

class Choice : public testing::TestWithParam<Arch> {
 protected:
  Choice() {
    config_.vocab_size = tokenizer_.vocab_size();
    config_.max_seq_len = 48;
    model_ = random_model(config_, Precision::float32());
  }
  double log_probability(const std::string& context, const std::string& text) {
    std::vector<int32_t> before = tokenizer_.encode(context);
    before.insert(before.begin(), bos_);
    return score_continuations(*model_, tape_, {{before, tokenizer_.encode(text)}})[0].log_probability;
  }
  ChoiceResult run(const ChoiceSet& set, const EvalHooks& hooks = {}) {
    return evaluate_choice({*model_, tape_, tokenizer_, bos_, eos_}, set, hooks);
  }
  static ChoiceSet set_of(std::vector<ChoiceItem> items) {
    return {.name = "set", .format = "choice", .items = std::move(items)};
  }

  Tokenizer tokenizer_ = small_tokenizer();
  int32_t bos_ = *tokenizer_.token_to_id("<s>"), eos_ = *tokenizer_.token_to_id("</s>");
  ModelConfig config_ = small_config(GetParam());
  Context ctx_{1};
  std::unique_ptr<Model> model_;
  Tape tape_{ctx_, Precision::float32(), Tape::Mode::no_grad};
};

// Each candidate in turn is called the right one: exactly the likeliest counts, and per byte the likeliest per byte.
TEST_P(Choice, TheLikeliestIsRight) {
  const std::vector<std::string> texts{" barn", " the old violin", " zebra crossing", " goat"};
  for (const std::string context : {"the key is in the", "the goat", ""}) {
    std::vector<double> scores, per_byte;
    for (const std::string& text : texts) {
      scores.push_back(log_probability(context, text));
      per_byte.push_back(scores.back() / static_cast<double>(text.size()));
    }
    auto best = static_cast<size_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());
    auto best_per_byte = static_cast<size_t>(std::max_element(per_byte.begin(), per_byte.end()) - per_byte.begin());
    for (size_t right = 0; right < texts.size(); ++right) {
      ChoiceItem item;
      for (size_t i = 0; i < texts.size(); ++i) {
        item.candidates.push_back({context, texts[i], i == right ? Truth::right : Truth::wrong});
      }
      ChoiceResult result = run(set_of({item}));
      EXPECT_EQ(result.items, 1);
      EXPECT_EQ(result.accuracy.hits, right == best ? 1 : 0) << context << texts[right];
      EXPECT_EQ(result.accuracy_per_byte->hits, right == best_per_byte ? 1 : 0) << context << texts[right];
      EXPECT_DOUBLE_EQ(result.chance, 0.25);
    }
  }
}

// Right ones beside the best are no rivals, and their probability counts for the mass.
TEST_P(Choice, SeveralRightAnswersShareTheMass) {
  ChoiceItem item;
  item.candidates = {{"the goat", " is", Truth::right},
                     {"the goat", " barn", Truth::also_right},
                     {"the goat", " violin", Truth::wrong}};
  double is = std::exp(log_probability("the goat", " is")), barn = std::exp(log_probability("the goat", " barn"));
  double violin = std::exp(log_probability("the goat", " violin"));
  ChoiceResult result = run(set_of({item}));
  EXPECT_NEAR(*result.right_mass, (is + barn) / (is + barn + violin), 1e-6);
  EXPECT_EQ(result.accuracy.hits, is > violin ? 1 : 0);
  EXPECT_DOUBLE_EQ(result.chance, 0.5);
}

TEST_P(Choice, LoneCandidatesAskForWriting) {
  // What the model writes after "the key", token by token, as far as it is text that encodes as itself.
  std::vector<int32_t> context = tokenizer_.encode("the key");
  context.insert(context.begin(), bos_);
  std::vector<ChoiceItem> items;
  double sum = 0;
  for (const std::string text : {" barn", " is in", " zebra"}) {
    items.push_back({.candidates = {{"the key", text, Truth::right}}, .group = text, .asks = Asks::tokens});
    sum += log_probability("the key", text);
  }
  ChoiceResult result = run(set_of(items));
  EXPECT_NEAR(*result.perplexity, std::exp(-sum / 3), 1e-6 * std::exp(-sum / 3));
  EXPECT_FALSE(result.accuracy_per_byte);
  EXPECT_EQ(result.chance, 0);
  int64_t greedy = 0;
  for (const ChoiceItem& item : items) {
    greedy += score_continuations(*model_, tape_, {{context, tokenizer_.encode(item.candidates[0].text)}})[0].greedy;
  }
  EXPECT_EQ(result.accuracy.hits, greedy);
  ASSERT_EQ(result.groups.size(), 3u);
  EXPECT_NEAR(*result.group_mean, static_cast<double>(greedy) / 3, 1e-12);
}

TEST_P(Choice, FormsAreCompared) {
  ChoiceItem item;
  item.candidates = {{"", "the goat", Truth::right},
                     {"", "the barn", Truth::wrong},
                     {"", "he is", Truth::first_form},
                     {"", "she is", Truth::second_form}};
  ChoiceResult result = run(set_of({item}));
  EXPECT_NEAR(*result.first_form_preference, log_probability("", "he is") - log_probability("", "she is"), 1e-4);
  EXPECT_DOUBLE_EQ(result.chance, 0.5);
  EXPECT_FALSE(result.right_mass);
}

TEST_P(Choice, WhatDoesNotFitIsCountedAndTiesAreWrong) {
  ChoiceItem tie;
  tie.candidates = {{"the", " barn", Truth::right}, {"the", " barn", Truth::wrong}};
  ChoiceItem longer = tie;
  for (int i = 0; i < 48; ++i) longer.candidates[1].text += " key";
  ChoiceResult result = run(set_of({longer, tie, longer}));
  EXPECT_EQ(result.skipped, 2);
  EXPECT_EQ(result.items, 1);
  EXPECT_EQ(result.accuracy.hits, 0);
  result = run(set_of({longer}));
  EXPECT_EQ(result.items, 0);
  EXPECT_TRUE(to_json(result)["accuracy"].is_null());
}

// An answer that is to be written: the whole of what the model writes, not its beginning.
TEST_P(Choice, WrittenAnswersAreCompared) {
  std::vector<ChoiceItem> items;
  std::vector<WrittenQuestion> questions;
  for (const std::string context : {"the key", "is in", "goat"}) {
    items.push_back({.candidates = {{context, " barn", Truth::right}}, .group = "sums", .asks = Asks::text});
    std::vector<int32_t> prompt = tokenizer_.encode(context);
    prompt.insert(prompt.begin(), bos_);
    questions.push_back({prompt, "barn"});
  }
  std::vector<WrittenAnswer> written = write_answers({*model_, tape_, tokenizer_, bos_, eos_}, questions);
  // One whose answer is what the model writes.
  ASSERT_FALSE(written[0].text.empty());
  items.push_back(items[0]);
  items[3].candidates[0].text = " " + written[0].text;
  ChoiceItem choice;
  choice.candidates = {{"the", " barn", Truth::right}, {"the", " key", Truth::wrong}};
  items.push_back(choice);
  std::vector<OrderedJson> lines;
  ChoiceResult result = run(set_of(items), {.item = [&](const OrderedJson& line) { lines.push_back(line); }});
  ASSERT_EQ(lines.size(), 5u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(lines[i]["written"], written[i].text);
    EXPECT_EQ(lines[i]["correct"], written[i].right);
  }
  ASSERT_TRUE(result.written);
  EXPECT_EQ(result.written->of, 4);
  EXPECT_EQ(result.accuracy.of, 5);
  EXPECT_EQ(result.accuracy_per_byte->of, 1);
  EXPECT_FALSE(result.perplexity);
  EXPECT_NEAR(result.chance, 0.5 / 5, 1e-12);
}

// The line about an item says what its score was, and is the same whatever the items beside it are.
TEST_P(Choice, LinesAboutItemsDoNotDependOnTheOthers) {
  model_->parameters().pack(ctx_, kernels::WeightFormat::f32);
  std::vector<ChoiceItem> items;
  const std::vector<std::string> texts{" barn", " the old violin", " goat", " key is", " zebra"};
  for (size_t i = 0; i < 30; ++i) {
    ChoiceItem item{.group = i % 2 == 0 ? "even" : "odd", .line = static_cast<int64_t>(i) + 1};
    std::string context = i % 5 == 4 ? "" : "the key is in the barn" + texts[i % 3];
    for (size_t k = 0; k < 2 + i % 3; ++k) {
      item.candidates.push_back({context, texts[(i + k) % 5], k == i % 2 ? Truth::right : Truth::wrong});
    }
    items.push_back(item);
  }
  auto lines_of = [&](const std::vector<ChoiceItem>& some) {
    std::vector<OrderedJson> lines;
    run(set_of(some), {.item = [&](const OrderedJson& line) { lines.push_back(line); }});
    return lines;
  };
  std::vector<OrderedJson> together = lines_of(items);
  ASSERT_EQ(together.size(), items.size());
  for (size_t i = 0; i < items.size(); ++i) {
    EXPECT_EQ(lines_of({items[i]}).front(), together[i]) << i;
    const OrderedJson& line = together[i];
    ASSERT_EQ(line["candidates"].size(), items[i].candidates.size());
    double best = -1e9;
    size_t likeliest = 0;
    for (size_t k = 0; k < items[i].candidates.size(); ++k) {
      double score = line["candidates"][k]["log_probability"];
      EXPECT_NEAR(score, log_probability(items[i].candidates[0].context, items[i].candidates[k].text), 1e-9);
      if (score > best) likeliest = k;
      best = std::max(best, score);
    }
    EXPECT_EQ(line["chosen"], likeliest);
    EXPECT_EQ(line["correct"], items[i].candidates[likeliest].truth == Truth::right);
    EXPECT_EQ(line["line"], items[i].line);
  }
}

INSTANTIATE_TEST_SUITE_P(Archs, Choice,
                         testing::Values(Arch::decoder, Arch::double_decoder, Arch::encoder_decoder, Arch::yoco,
                                         Arch::block_transformer),
                         [](const auto& arch) { return std::string(arch_name(arch.param)); });

TEST(ChoiceShare, StandardErrorIsThatOfASample) {
  EXPECT_DOUBLE_EQ((Share{.hits = 25, .of = 100}.value()), 0.25);
  EXPECT_DOUBLE_EQ((Share{.hits = 25, .of = 100}.standard_error()), std::sqrt(0.25 * 0.75 / 100));
  EXPECT_EQ(Share{}.value(), 0);
}

}  // namespace
}  // namespace tandem::test
