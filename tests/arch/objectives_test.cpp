// What prepare() lays out for each objective, and that passes over it are the ones they stand for.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "arch/model_check.h"
#include "arch/plans.h"
#include "arch/span_corruption.h"
#include "base/error.h"
#include "formats/safetensors.h"
#include "kernels/plan_check.h"

namespace tandem::test {
namespace {

constexpr int32_t kUser = 3, kAssistant = 4, kPad = 5;

// Rows of conversations: "p" is a prompt token, "a" a response begins, "r" more of it with EOS last; '|' ends a
// conversation, '.' is padding. Labels as data gives them.
Batch conversations(const std::vector<std::string>& rows) {
  Batch batch;
  batch.rows = static_cast<int64_t>(rows.size());
  batch.isolated = true;
  batch.objective = Objective::conversation;
  Rng rng(9, 0);
  for (const std::string& row : rows) {
    int32_t segment = 0, position = 0;
    for (size_t i = 0; i < row.size(); ++i) {
      if (row[i] == '|') {
        ++segment;
        position = 0;
        continue;
      }
      auto word = static_cast<int32_t>(6 + rng.below(14));
      bool padding = row[i] == '.', response = row[i] == 'a' || row[i] == 'r';
      bool last = row[i] == 'r' && (i + 1 == row.size() || row[i + 1] != 'r');
      batch.ids.push_back(padding ? kPad : row[i] == 'a' ? kAssistant : last ? 2 : position == 0 ? 1 : word);
      batch.roles.push_back(padding ? Role::padding : response ? Role::response : Role::prompt);
      batch.segments.push_back(segment);
      batch.positions.push_back(position++);
    }
  }
  batch.length = static_cast<int64_t>(batch.ids.size()) / batch.rows;
  for (size_t t = 0; t < batch.ids.size(); ++t) {
    bool predicted = t + 1 < batch.ids.size() && batch.segments[t + 1] == batch.segments[t] &&
                     batch.roles[t + 1] == Role::response && batch.ids[t + 1] != kAssistant;
    batch.labels.push_back(predicted ? batch.ids[t + 1] : kIgnoreLabel);
  }
  return batch;
}

Batch prepared(const Model& model, Batch batch) {
  Rng rng(3, 3);
  model.prepare(batch, rng);
  return batch;
}

class Conversation : public testing::TestWithParam<NamedConfig> {
 protected:
  std::unique_ptr<Model> model(const Precision& precision,
                               ParameterStore::Gradients gradients = ParameterStore::Gradients::none) {
    return random_model(GetParam().config, precision, gradients);
  }
  bool is(Arch arch) { return GetParam().config.arch == arch; }
};

// Each response's logits are those of a conversation that ends with it, read and then written token by token.
TEST_P(Conversation, ResponsesAreWrittenAsInGeneration) {
  Context ctx(2);
  auto model = this->model(Precision::reference());
  Batch rows = conversations({"pppparrppparrr|ppar....", "ppppppppppparrrrrr|par.."});
  Batch batch = prepared(*model, rows);
  ASSERT_TRUE(batch.two_sided);
  auto logits = logits_of(*model, batch, ctx);
  size_t at = 0;
  Tape tape(ctx, Precision::reference(), Tape::Mode::no_grad);
  for (const TokenRange& text : rows.texts()) {
    if (rows.is_padding(text)) continue;
    // A model of one side computes the prompt as well.
    if (has_one_side(GetParam().config)) {
      const TokenRange& block = batch.writer.blocks[at].tokens;
      std::vector<float> next(29);
      auto state = model->new_state(24);
      for (int64_t t = block.begin; t < block.end; ++t) {
        tape.reset();
        model->decode(tape, *state, batch.writer.ids[static_cast<size_t>(t)], next);
        std::vector<double> stepwise(next.begin(), next.end());
        EXPECT_LE(largest_difference(stepwise, logits[static_cast<size_t>(t)]), 4e-6);
      }
      ++at;
      continue;
    }
    for (int64_t t = text.begin; t < text.end; ++t) {
      if (rows.ids[static_cast<size_t>(t)] != kAssistant) continue;
      const WriterBlock& block = batch.writer.blocks.at(at++);
      EXPECT_EQ(block.reads.size(), t - text.begin);
      auto state = model->new_state(48);
      tape.reset();
      model->prefill(tape, *state,
                     std::span(rows.ids).subspan(static_cast<size_t>(text.begin), static_cast<size_t>(t - text.begin)));
      // Behind BOS, where there is one.
      int64_t first = block.tokens.begin + (is(Arch::encoder_decoder) ? 1 : 0);
      std::vector<float> next(29);
      for (int64_t w = first; w < block.tokens.end; ++w) {
        EXPECT_EQ(batch.writer.ids[static_cast<size_t>(w)], rows.ids[static_cast<size_t>(t + w - first)]);
        tape.reset();
        model->decode(tape, *state, rows.ids[static_cast<size_t>(t + w - first)], next);
        // Where rotary bases follow the length, only the last token was written in a text of this length.
        if (GetParam().config.rope_ntk_factor > 1 && w + 1 < block.tokens.end) continue;
        std::vector<double> stepwise(next.begin(), next.end());
        EXPECT_LE(largest_difference(stepwise, logits[static_cast<size_t>(w)]), 4e-6) << "token " << w;
      }
    }
  }
  EXPECT_EQ(at, batch.writer.blocks.size());
}

TEST_P(Conversation, OnlyWhatIsNeededIsComputed) {
  auto model = this->model(Precision::float32());
  Batch batch = prepared(*model, conversations({"pppparrppparrr|ppar....", "ppppppppppparrrrrr|par.."}));
  int64_t labels = std::ranges::count_if(batch.writer.labels, [](int32_t label) { return label != kIgnoreLabel; });
  // EOS is predicted, the role token is not, except behind the encoder-decoder's BOS.
  int64_t predicted = 2 + 3 + 1 + 6 + 1, responses = 5;
  if (has_one_side(GetParam().config)) {
    EXPECT_EQ(labels, predicted);
    EXPECT_TRUE(batch.reader.ids.empty());
    EXPECT_EQ(batch.writer.ids.size(), 13u + 3 + 17 + 2);
  } else if (is(Arch::double_decoder)) {
    EXPECT_EQ(labels, predicted);
    // One reading for both turns, none of what nobody sees; a response without its EOS.
    EXPECT_EQ(batch.reader.sequences.size(), 4u);
    EXPECT_EQ(batch.reader.ids.size(), 10u + 2 + 11 + 1);
    EXPECT_EQ(static_cast<int64_t>(batch.writer.ids.size()), predicted);
    EXPECT_EQ(batch.writer.positions[2], 10);
  } else {
    EXPECT_EQ(labels, predicted + responses);
    EXPECT_EQ(batch.reader.sequences.size(), 5u);
    EXPECT_EQ(batch.reader.ids.size(), 4u + 10 + 2 + 11 + 1);
    EXPECT_EQ(static_cast<int64_t>(batch.writer.ids.size()), predicted + responses);
  }
}

// Labels outside the responses that data gives none count for nothing: an unlabelled response is not written.
TEST_P(Conversation, ResponsesWithoutLabelsAreContext) {
  auto model = this->model(Precision::float32());
  Batch rows = conversations({"pppparrppparrr"});
  std::fill(rows.labels.begin(), rows.labels.begin() + 8, kIgnoreLabel);
  Batch batch = prepared(*model, rows);
  EXPECT_EQ(batch.writer.blocks.size(), 1u);
  std::fill(rows.labels.begin(), rows.labels.end(), kIgnoreLabel);
  batch = prepared(*model, rows);
  EXPECT_TRUE(batch.writer.ids.empty());
  Context ctx(1);
  Tape tape(ctx, Precision::float32(), Tape::Mode::record);
  EXPECT_EQ(model->loss(tape, batch).tokens, 0);
  tape.backward();
}

// loss() leaves out rows without labels and rounds sizes up; asked for the loss of every token it does neither.
TEST_P(Conversation, LossAndGradientsAreThoseOfAllRows) {
  Context ctx(2);
  ModelConfig config = GetParam().config;
  auto a = random_model(config, Precision::reference(), ParameterStore::Gradients::wanted);
  auto b = random_model(config, Precision::reference(), ParameterStore::Gradients::wanted);
  Batch batch = prepared(*a, conversations({"pppparrppparrr|ppar....", "ppppppppppparrrrrr|par.."}));
  Tape tape(ctx, Precision::reference(), Tape::Mode::record);
  ops::LossSum fast = a->loss(tape, batch, true);
  tape.backward();
  tape.reset();
  Storage token_loss(DType::f64, {static_cast<int64_t>(batch.loss_labels().size())});
  ops::LossSum whole = b->loss(tape, batch, true, token_loss.tensor());
  tape.backward();
  EXPECT_NEAR(fast.sum, whole.sum, 1e-11);
  EXPECT_EQ(fast.tokens, whole.tokens);
  EXPECT_EQ(fast.correct, whole.correct);
  EXPECT_GT(fast.tokens, 0);
  auto other = b->parameters().all().begin();
  for (const Parameter& p : a->parameters().all()) {
    for (int64_t r = 0; r < p.grad().rows(); ++r) {
      for (int64_t i = 0; i < p.grad().row_size(); ++i) {
        ASSERT_NEAR(load_element(p.grad(), r, i), load_element(other->grad(), r, i), 1e-11) << p.name();
      }
    }
    ++other;
  }
}

INSTANTIATE_TEST_SUITE_P(Small, Conversation, testing::ValuesIn(small_configs()),
                         [](const auto& test) { return test.param.name; });

// --- Masks of the authors' code, from spans -------------------------------------------------------------------------

struct RecordedSides {
  SafetensorsFile io;
  std::vector<TokenRange> sequences;
  std::vector<WriterBlock> blocks;
  int64_t length;

  explicit RecordedSides(const std::string& name)
      : io(SafetensorsFile::open(std::filesystem::path(TANDEM_SOURCE_DIR) / "tests/golden" / name / "io.safetensors")) {
    Tensor ids = io.tensor("encoder_input_ids"), lengths = io.tensor("blocks");
    length = ids.row_size();
    int64_t read = 0;
    for (int64_t row = 0; row < ids.rows(); ++row) {
      auto count = static_cast<int64_t>(load_element(lengths, row, 0));
      sequences.push_back({read, read + count});
      blocks.push_back({{row * length, (row + 1) * length}, sequences.back()});
      read += count;
    }
  }
};

TEST(RecordedMasks, OfTheEncoderDecoder) {
  RecordedSides recorded("sed_tiny");
  Tensor self = recorded.io.tensor("mask.encoder_self"), cross = recorded.io.tensor("mask.cross");
  SpanPlan encoder, reads;
  plan_bidirectional(encoder, recorded.sequences);
  plan_reads(reads, recorded.blocks);
  int64_t length = recorded.length;
  for (int64_t row = 0; row < self.rows(); ++row) {
    TokenRange sequence = recorded.sequences[static_cast<size_t>(row)];
    for (int64_t q = 0; q < length; ++q) {
      for (int64_t k = 0; k < length; ++k) {
        bool real = k < sequence.size();
        // Padding that the encoder does not read here sees what it likes there.
        if (q < sequence.size()) {
          bool ours = real && sees(encoder, sequence.begin + q, 0, sequence.begin + k);
          ASSERT_EQ(ours, load_element(self, row, q * length + k) == 1) << row << " " << q << " " << k;
        }
        bool ours = real && sees(reads, row * length + q, 0, sequence.begin + k);
        ASSERT_EQ(ours, load_element(cross, row, q * length + k) == 1) << row << " " << q << " " << k;
      }
    }
  }
}

TEST(RecordedMasks, OfTheDoubleDecodersResponses) {
  RecordedSides recorded("bdd_sft");
  Tensor self = recorded.io.tensor("mask.self"), cross = recorded.io.tensor("mask.cross");
  SpanPlan joint;
  plan_joint(joint, recorded.blocks);
  int64_t length = recorded.length;
  for (int64_t row = 0; row < cross.rows(); ++row) {
    TokenRange sequence = recorded.sequences[static_cast<size_t>(row)];
    for (int64_t q = 0; q < length; ++q) {
      for (int64_t k = 0; k < length; ++k) {
        ASSERT_EQ(sees(joint, row * length + q, 0, row * length + k), load_element(self, q, k) == 1);
        bool ours = k < sequence.size() && sees(joint, row * length + q, 1, sequence.begin + k);
        ASSERT_EQ(ours, load_element(cross, row, q * length + k) == 1);
      }
    }
  }
}

// --- Choices that are given, and bad ones ----------------------------------------------------------------------------

TEST(Prefixes, AreDrawnForEveryRowBetweenOneAndTheLastButOne) {
  ModelConfig config = small_config(Arch::double_decoder);
  auto model = random_model(config, Precision::float32());
  std::vector<int64_t> seen(24, 0);
  bool differ = false;
  for (uint64_t seed = 0; seed < 4000; ++seed) {
    Batch batch = random_rows(config, 2, 24);
    batch.objective = Objective::prefix_lm;
    Rng rng(seed, 1);
    model->prepare(batch, rng);
    ASSERT_EQ(batch.prefixes.size(), 2u);
    for (int32_t prefix : batch.prefixes) ++seen[static_cast<size_t>(prefix)];
    differ = differ || batch.prefixes[0] != batch.prefixes[1];
  }
  EXPECT_TRUE(differ);
  EXPECT_EQ(seen[0] + seen[23], 0);
  // 8000 draws of 22 lengths, 364 each; six standard deviations are 112.
  for (size_t n = 1; n <= 22; ++n) EXPECT_NEAR(static_cast<double>(seen[n]), 363.6, 112) << n;
}

TEST(Prefixes, GivenOnesAreKeptAndChecked) {
  ModelConfig config = small_config(Arch::encoder_decoder);
  auto model = random_model(config, Precision::float32());
  Batch rows = random_rows(config, 2, 10);
  rows.objective = Objective::prefix_lm;
  rows.prefixes = {3, 9};
  Batch batch = prepared(*model, rows);
  EXPECT_EQ(batch.reader.ids.size(), 12u);
  EXPECT_EQ(batch.writer.ids.size(), 8u + 2);
  EXPECT_EQ(batch.writer.labels.back(), 2);
  for (std::vector<int32_t> bad : {std::vector<int32_t>{3}, {3, 10}, {-1, 2}, {1, 2, 3}}) {
    rows.prefixes = bad;
    EXPECT_THROW(prepared(*model, rows), InputError);
  }
}

TEST(Spans, GivenOnesAreKeptAndChecked) {
  ModelConfig config = small_config(Arch::encoder_decoder);
  auto model = random_model(config, Precision::float32());
  Batch rows = random_rows(config, 2, 10);
  rows.objective = Objective::span_corruption;
  rows.spans = {{1, 3}, {4, 5}, {12, 20}};
  Batch batch = prepared(*model, rows);
  EXPECT_EQ(batch.spans, rows.spans);
  std::vector<int32_t> written{1, 20, rows.ids[1], rows.ids[2], 21, rows.ids[4], 1, 20};
  EXPECT_TRUE(std::equal(written.begin(), written.end(), batch.writer.ids.begin()));
  EXPECT_EQ(batch.reader.sequences, (std::vector<TokenRange>{{0, 9}, {9, 12}}));
  for (std::vector<TokenRange> bad :
       {std::vector<TokenRange>{{3, 3}}, {{4, 6}, {5, 7}}, {{5, 7}, {1, 2}}, {{19, 21}}}) {
    rows.spans = bad;
    EXPECT_THROW(prepared(*model, rows), InputError);
  }
}

// What a stretch leaves out, it writes: both sides together are the text.
TEST(Spans, NothingIsLost) {
  ModelConfig config = small_config(Arch::encoder_decoder);
  config.noise_density = 0.5;
  config.mean_span_length = 2;
  auto model = random_model(config, Precision::float32());
  for (uint64_t seed = 0; seed < 200; ++seed) {
    Batch batch = random_rows(config, 1, 24, seed);
    // Words stay below the sentinels.
    for (int32_t& id : batch.ids) id = 3 + id % 17;
    batch.objective = Objective::span_corruption;
    Rng rng(seed, 2);
    model->prepare(batch, rng);
    std::vector<int32_t> whole;
    for (int32_t id : batch.reader.ids) {
      if (id < 20) {
        whole.push_back(id);
        continue;
      }
      auto from = std::find(batch.writer.ids.begin(), batch.writer.ids.end(), id);
      ASSERT_NE(from, batch.writer.ids.end());
      for (++from; from != batch.writer.ids.end() && *from < 20; ++from) whole.push_back(*from);
    }
    EXPECT_EQ(whole, batch.ids);
    EXPECT_LE(batch.writer.ids.size(), 24u);
  }
}

TEST(Objectives, ThatDoNotFitAreInputErrors) {
  for (Arch arch : {Arch::decoder, Arch::double_decoder, Arch::encoder_decoder, Arch::block_transformer}) {
    ModelConfig config = small_config(arch);
    auto model = random_model(config, Precision::float32());
    for (Objective o : {Objective::text, Objective::prefix_lm, Objective::span_corruption}) {
      Batch batch = random_rows(config, 1, 10);
      batch.objective = o;
      if (learns(arch, o)) {
        EXPECT_NO_THROW(prepared(*model, batch));
      } else {
        EXPECT_THROW(prepared(*model, batch), InputError) << objective_name(o);
      }
    }
    Batch batch = random_rows(config, 1, 10);
    batch.objective = Objective::conversation;  // without roles
    EXPECT_THROW(prepared(*model, batch), InputError);
  }
}

TEST(Objectives, TokensThatTheConfigDoesNotNameAreInputErrors) {
  ModelConfig config = small_config(Arch::encoder_decoder);
  auto with = [&](auto change, Objective objective) {
    ModelConfig changed = config;
    change(changed);
    Batch batch = random_rows(config, 1, 10);
    batch.objective = objective;
    prepared(*random_model(changed, Precision::float32()), batch);
  };
  EXPECT_THROW(with([](ModelConfig& c) { c.bos_id = -1; }, Objective::prefix_lm), InputError);
  EXPECT_THROW(with([](ModelConfig& c) { c.eos_id = -1; }, Objective::span_corruption), InputError);
  EXPECT_THROW(with([](ModelConfig& c) { c.sentinel_start = -1; }, Objective::span_corruption), InputError);
  EXPECT_THROW(with([](ModelConfig& c) { c.n_sentinels = 0; }, Objective::span_corruption), InputError);
  EXPECT_NO_THROW(with([](ModelConfig& c) { c.sentinel_start = -1; }, Objective::prefix_lm));
}

TEST(Objectives, AnUnpreparedBatchIsRefusedByTheEncoderDecoder) {
  ModelConfig config = small_config(Arch::encoder_decoder);
  auto model = random_model(config, Precision::float32());
  Context ctx(1);
  EXPECT_THROW(logits_of(*model, random_rows(config, 1, 10), ctx), LogicError);
}

}  // namespace
}  // namespace tandem::test
