#include "eval/memory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "arch/model_check.h"
#include "base/json.h"
#include "text/bpe_trainer.h"

namespace tandem::test {
namespace {

// Trained on such texts: words are tokens.
Tokenizer tokenizer_of(int64_t vocab_size) {
  std::vector<std::string> texts;
  Rng rng(1, 0);
  for (int i = 0; i < 300; ++i) {
    texts.push_back(make_memory_task(i % 2 ? MemoryKind::copy : MemoryKind::pairs, 1 + i % 16, rng).text());
  }
  TrainBpeOptions options;
  options.vocab_size = static_cast<int32_t>(vocab_size);
  return Tokenizer::parse(train_bpe({texts.begin(), texts.end()}, options), "test");
}

class Memory : public testing::TestWithParam<std::tuple<Arch, int64_t>> {
 protected:
  Memory() {
    config_.vocab_size = tokenizer_.vocab_size();
    config_.max_seq_len = 64;
    model_ = random_model(config_, Precision::float32());
    exact_ = random_model(config_, Precision::reference());
    for (Model* model : {model_.get(), exact_.get()}) favour_answers(*model);
    model_->parameters().pack(ctx_, kernels::WeightFormat::f32);
  }
  // Makes all tokens unlikely that no answer is made of: among few a random model is sometimes right.
  void favour_answers(Model& model) {
    std::set<int32_t> favoured;
    Rng rng(5, 0);
    for (int i = 0; i < 50; ++i) {
      MemoryTask task = make_memory_task(i % 2 ? MemoryKind::copy : MemoryKind::pairs, 10, rng);
      for (size_t answer : task.answers) {
        for (int32_t id : tokenizer_.encode(task.words[answer])) favoured.insert(id);
      }
    }
    Parameter* embedding = model.parameters().find("embedding.weight");
    ASSERT_NE(embedding, nullptr);
    for (int64_t id = 0; id < config_.vocab_size; ++id) {
      float* row = embedding->master().row<float>(id);
      if (favoured.count(static_cast<int32_t>(id)) > 0) continue;
      for (int64_t i = 0; i < config_.dim; ++i) row[i] *= 0.01F;
    }
    model.parameters().refresh_compute();
  }
  // Words that the model gets right, by one pass over the whole text in double precision.
  int64_t right_words(const std::string& context, const std::string& text, const std::vector<std::string>& words) {
    std::vector<int32_t> ids = tokenizer_.encode(context + text);
    ids.insert(ids.begin(), bos_);
    auto read = static_cast<int32_t>(tokenizer_.encode(context).size());  // and BOS in front of them
    Batch batch = one_row(ids);
    choose(batch, config_, {read});
    auto logits = logits_of(*exact_, batch, ctx_);
    int64_t right = 0;
    size_t at = static_cast<size_t>(read);  // of the logits that predict the next token
    for (size_t w = 0; w < words.size(); ++w) {
      size_t count = tokenizer_.encode(words[w]).size();
      bool all = true;
      for (size_t t = at; t < at + count; ++t) {
        auto best = std::max_element(logits[t].begin(), logits[t].end()) - logits[t].begin();
        all = all && best == ids[t + 1];
      }
      at += count;
      right += all;
    }
    return right;
  }

  Tokenizer tokenizer_ = tokenizer_of(std::get<1>(GetParam()));
  int32_t bos_ = *tokenizer_.token_to_id("<s>");
  ModelConfig config_ = small_config(std::get<0>(GetParam()));
  Context ctx_{1};
  std::unique_ptr<Model> model_, exact_;
  Tape tape_{ctx_, Precision::float32(), Tape::Mode::no_grad};
};

std::vector<std::string> split_words(const std::string& text) {
  std::vector<std::string> words;
  for (size_t at = 0; at < text.size();) {
    size_t end = std::min(text.find(' ', at + 1), text.size());
    words.push_back(text.substr(at, end - at));
    at = end;
  }
  return words;
}

TEST_P(Memory, CountsTheWordsThatAreRight) {
  if (config_.arch == Arch::encoder_decoder) GTEST_SKIP() << "no pass over plain rows";
  int64_t ever_right = 0;
  for (MemoryKind kind : {MemoryKind::copy, MemoryKind::pairs}) {
    std::vector<OrderedJson> lines;
    MemoryOptions options{.kind = kind, .sizes = {1, 3}, .trials = 30};
    MemoryResult result = evaluate_memory({*model_, tape_, tokenizer_, bos_, -1}, options,
                                          {.item = [&](const OrderedJson& line) { lines.push_back(line); }});
    ASSERT_EQ(lines.size(), 60u);
    ASSERT_EQ(result.cells.size(), 2u);
    int64_t of = 0, right = 0, whole = 0;
    for (const OrderedJson& line : lines) {
      std::string context = line["context"], text = line["text"];
      std::vector<std::string> words = split_words(text);
      int64_t expected = 0;
      if (kind == MemoryKind::copy) {
        expected = right_words(context, text, words);
        EXPECT_EQ(line["of"], words.size());
      } else {
        // Values alone count; words of even places are the values.
        for (size_t i = 0; i < words.size(); i += 2) {
          std::vector<std::string> upto(words.begin(), words.begin() + static_cast<std::ptrdiff_t>(i) + 1);
          std::vector<std::string> before(upto.begin(), upto.end() - 1);
          expected += right_words(context, text, upto) - right_words(context, text, before);
        }
        EXPECT_EQ(line["of"], words.size() / 2 + 1);
      }
      EXPECT_EQ(line["right"], expected) << context << text;
      EXPECT_EQ(line["correct"], line["right"] == line["of"]);
      of += line["of"].get<int64_t>();
      right += expected;
      whole += line["correct"].get<bool>();
    }
    EXPECT_EQ(result.words().of, of);
    EXPECT_EQ(result.words().hits, right);
    EXPECT_EQ(result.whole().hits, whole);
    EXPECT_EQ(result.whole().of, 60);
    ever_right += right;
  }
  EXPECT_GT(ever_right, 0);
}

TEST_P(Memory, TextsThatDoNotFitAreCounted) {
  MemoryOptions options{.kind = MemoryKind::copy, .sizes = {2, 500}, .trials = 5};
  MemoryResult result = evaluate_memory({*model_, tape_, tokenizer_, bos_, -1}, options);
  EXPECT_EQ(result.cells[0].items, 5);
  EXPECT_EQ(result.cells[1].skipped, 5);
  EXPECT_EQ(result.cells[1].items, 0);
  OrderedJson json = to_json(result);
  EXPECT_EQ(json["skipped"], 5);
  EXPECT_TRUE(json["cells"][1]["accuracy"].is_null());
  EXPECT_EQ(json["cells"][1]["letters"], 500);
}

// A text is the same whatever else is asked, and so is its score.
TEST_P(Memory, SizesDoNotDependOnEachOther) {
  auto lines_of = [&](std::vector<int64_t> sizes) {
    std::vector<std::string> lines;
    evaluate_memory({*model_, tape_, tokenizer_, bos_, -1},
                    {.kind = MemoryKind::pairs, .sizes = std::move(sizes), .trials = 6},
                    {.item = [&](const OrderedJson& line) { lines.push_back(line.dump()); }});
    return lines;
  };
  std::vector<std::string> both = lines_of({2, 3}), three = lines_of({3});
  EXPECT_EQ(std::vector<std::string>(both.begin() + 6, both.end()), three);
}

INSTANTIATE_TEST_SUITE_P(Archs, Memory,
                         testing::Combine(testing::Values(Arch::decoder, Arch::double_decoder, Arch::encoder_decoder),
                                          testing::Values(300, 420)),
                         [](const auto& tested) {
                           return fmt::format("{}_{}", arch_name(std::get<0>(tested.param)), std::get<1>(tested.param));
                         });

}  // namespace
}  // namespace tandem::test
