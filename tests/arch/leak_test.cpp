// What a logit may depend on, found out by changing one token.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "arch/double_decoder.h"
#include "arch/model_check.h"
#include "base/error.h"

namespace tandem::test {
namespace {

class Leak : public testing::TestWithParam<NamedConfig> {};

// Whether token `changed` reaches the logits of each token of its row.
std::vector<bool> reach(Model& model, Context& ctx, const Batch& batch, int64_t changed) {
  auto before = logits_of(model, batch, ctx);
  Batch other = batch;
  int32_t& id = other.ids[static_cast<size_t>(changed)];
  id = static_cast<int32_t>((id + 1) % model.config().vocab_size);
  auto after = logits_of(model, other, ctx);
  std::vector<bool> reached;
  for (size_t t = 0; t < before.size(); ++t) reached.push_back(before[t] != after[t]);
  return reached;
}

TEST_P(Leak, LogitsDependOnAllEarlierTokensAndOnNoLaterOne) {
  Context ctx(2);
  auto model = random_model(GetParam().config, Precision::float32());
  constexpr int64_t kLength = 12;
  Batch batch = random_batch(model->config(), 2, kLength, {3, 4, 9});
  for (int64_t changed = 0; changed < 2 * kLength; ++changed) {
    std::vector<bool> reached = reach(*model, ctx, batch, changed);
    for (int64_t t = 0; t < 2 * kLength; ++t) {
      bool expected = t / kLength == changed / kLength && t >= changed;
      EXPECT_EQ(reached[static_cast<size_t>(t)], expected) << "token " << changed << " to " << t;
    }
  }
}

std::vector<NamedConfig> causal_configs() {
  std::vector<NamedConfig> all = small_configs();
  std::erase_if(all, [](const NamedConfig& named) { return named.config.arch == Arch::encoder_decoder; });
  return all;
}

INSTANTIATE_TEST_SUITE_P(Small, Leak, testing::ValuesIn(causal_configs()),
                         [](const auto& test) { return test.param.name; });

// The encoder-decoder: what is read reaches everything that its row writes; what is written, itself and what follows.
TEST(EncoderDecoderLeak, WrittenTokensDependOnAllThatIsReadAndOnEarlierOnes) {
  Context ctx(2);
  ModelConfig config = small_config(Arch::encoder_decoder);
  auto model = random_model(config, Precision::float32());
  constexpr int64_t kLength = 12, kPrefix = 5, kWritten = kLength - kPrefix + 1;
  Batch rows = random_rows(config, 2, kLength);
  auto logits = [&](const Batch& batch) {
    Batch chosen = batch;
    choose(chosen, config, {kPrefix});
    return logits_of(*model, chosen, ctx);
  };
  auto before = logits(rows);
  for (int64_t changed = 0; changed < 2 * kLength; ++changed) {
    Batch other = rows;
    int32_t& id = other.ids[static_cast<size_t>(changed)];
    id = id == 3 ? 4 : 3;
    auto after = logits(other);
    for (int64_t t = 0; t < 2 * kWritten; ++t) {
      int64_t token = changed % kLength;
      // BOS is written first, so token kPrefix is the second one.
      bool expected = t / kWritten == changed / kLength && (token < kPrefix || t % kWritten >= token - kPrefix + 1);
      EXPECT_EQ(before[static_cast<size_t>(t)] != after[static_cast<size_t>(t)], expected) << changed << " to " << t;
    }
  }
}

// Documents of isolated rows.
class Isolation : public testing::TestWithParam<NamedConfig> {
 protected:
  static constexpr int64_t kLength = 20;

  // Two rows of several documents, cut by the blocks at 3, 8 and 14.
  static Batch documents(const ModelConfig& config, bool isolated) {
    Batch batch = random_rows(config, 2, kLength);
    batch.isolated = isolated;
    std::vector<std::vector<int64_t>> begins{{0, 6, 11}, {0, 4, 5, 13}};
    for (int64_t row = 0; row < 2; ++row) {
      int32_t segment = -1, position = 0;
      for (int64_t t = 0; t < kLength; ++t, ++position) {
        const auto& list = begins[static_cast<size_t>(row)];
        if (std::find(list.begin(), list.end(), t) != list.end()) {
          ++segment;
          if (isolated) position = 0;
        }
        batch.segments[static_cast<size_t>(row * kLength + t)] = segment;
        batch.positions[static_cast<size_t>(row * kLength + t)] = position;
      }
    }
    return batch;
  }

  // With fixed choices of blocks, first parts and stretches; laid out as prepare() does.
  static Batch prepared(const Model& model, Batch batch) {
    Rng rng(4, 4);
    batch.boundaries.clear();
    model.prepare(batch, rng);
    if (batch.objective == Objective::text && model.config().arch == Arch::double_decoder) {
      batch.boundaries = {3, 8, 14, kLength + 3, kLength + 8, kLength + 14};
    }
    return batch;
  }

  // The text to which each token of the pass belongs.
  static std::vector<size_t> owners(const Batch& batch) {
    std::vector<TokenRange> texts = batch.texts();
    std::vector<size_t> owner;
    if (!batch.two_sided) {
      for (size_t i = 0; i < texts.size(); ++i) owner.insert(owner.end(), static_cast<size_t>(texts[i].size()), i);
      return owner;
    }
    // Texts without a block are those too short for prefix-LM.
    size_t text = 0;
    for (const WriterBlock& block : batch.writer.blocks) {
      while (batch.objective == Objective::prefix_lm && batch.prefixes[text] == 0) ++text;
      owner.insert(owner.end(), static_cast<size_t>(block.tokens.size()), text++);
    }
    return owner;
  }

  // Which texts' logits change when all tokens of `text` do.
  static std::vector<bool> touched(Model& model, Context& ctx, const Batch& rows, size_t text) {
    Batch before = prepared(model, rows), changed = rows;
    TokenRange range = rows.texts()[text];
    for (int64_t t = range.begin; t < range.end; ++t) {
      int32_t& id = changed.ids[static_cast<size_t>(t)];
      id = id == 3 ? 4 : 3;
    }
    label_rows(changed);
    Batch after = prepared(model, changed);
    std::vector<size_t> owner = owners(before);
    EXPECT_EQ(owner, owners(after));
    auto a = logits_of(model, before, ctx), b = logits_of(model, after, ctx);
    EXPECT_EQ(owner.size(), a.size());
    std::vector<bool> changes(rows.texts().size());
    for (size_t t = 0; t < owner.size(); ++t) changes[owner[t]] = changes[owner[t]] || a[t] != b[t];
    return changes;
  }

  static void check(const ModelConfig& config, Objective objective) {
    Context ctx(2);
    auto model = random_model(config, Precision::float32());
    Batch rows = documents(config, true);
    rows.objective = objective;
    size_t texts = rows.texts().size();
    ASSERT_EQ(texts, 7u);
    for (size_t changed = 0; changed < texts; ++changed) {
      std::vector<bool> changes = touched(*model, ctx, rows, changed);
      for (size_t t = 0; t < texts; ++t) {
        // Of a text too short to be cut in two, two-sided passes write nothing.
        bool written = objective != Objective::prefix_lm || has_one_side(config) || rows.texts()[t].size() >= 3;
        EXPECT_EQ(changes[t], t == changed && written) << changed << " to " << t;
      }
    }
  }
};

TEST_P(Isolation, OneDocumentLeavesTheLogitsOfTheOthersBitEqual) {
  check(GetParam().config, default_objective(GetParam().config.arch));
}

TEST_P(Isolation, AlsoInPrefixLm) { check(GetParam().config, Objective::prefix_lm); }

TEST_P(Isolation, WithoutItDocumentsOfARowSeeEachOther) {
  Context ctx(2);
  const ModelConfig& config = GetParam().config;
  auto model = random_model(config, Precision::float32());
  Batch rows = documents(config, false);
  Batch other = rows;
  other.ids[7] = other.ids[7] == 3 ? 4 : 3;  // of the first row's second document
  for (Batch* batch : {&rows, &other}) choose(*batch, config, {3, 8, 14});
  auto a = logits_of(*model, rows, ctx), b = logits_of(*model, other, ctx);
  // Up to the last token of the first row's third document, and not in the second row.
  size_t row_end = a.size() / 2;
  EXPECT_NE(a[row_end - 1], b[row_end - 1]);
  for (size_t t = row_end; t < a.size(); ++t) EXPECT_EQ(a[t], b[t]);
}

// A document's logits in a row of several are those of the document alone.
TEST_P(Isolation, ADocumentReadsAsIfItWereAlone) {
  Context ctx(2);
  const ModelConfig& config = GetParam().config;
  auto model = random_model(config, Precision::reference());
  Batch rows = documents(config, true);
  rows.objective = Objective::prefix_lm;
  rows.prefixes = {2, 1, 4, 3, 0, 5, 3};
  Rng rng(1, 1);
  Batch alone;
  TokenRange text = rows.texts()[2];
  alone.rows = 1;
  alone.length = text.size();
  alone.ids.assign(rows.ids.begin() + text.begin, rows.ids.begin() + text.end);
  alone.segments.assign(alone.ids.size(), 0);
  for (int64_t t = 0; t < text.size(); ++t) alone.positions.push_back(static_cast<int32_t>(t));
  alone.objective = Objective::prefix_lm;
  alone.prefixes = {4};
  model->prepare(rows, rng);
  model->prepare(alone, rng);
  auto together = logits_of(*model, rows, ctx), single = logits_of(*model, alone, ctx);
  std::vector<size_t> owner = owners(rows);
  auto first = static_cast<size_t>(std::find(owner.begin(), owner.end(), 2u) - owner.begin());
  for (size_t t = 0; t < single.size(); ++t) EXPECT_LE(largest_difference(together[first + t], single[t]), 1e-12);
}

INSTANTIATE_TEST_SUITE_P(Small, Isolation, testing::ValuesIn(small_configs()),
                         [](const auto& test) { return test.param.name; });

// With one encoder and one decoder layer the ways are few enough to be told apart: silence the decoder's reading of the
// memory (zero its value projection) and only the own block is left, and the other way round.
void zero_rows(Parameter* p, int64_t begin, int64_t end) {
  ASSERT_NE(p, nullptr);
  for (int64_t r = begin; r < end; ++r) {
    for (int64_t i = 0; i < p->master().row_size(); ++i) store_element(p->master(), r, i, 0.0);
  }
}

ModelConfig two_layers() {
  ModelConfig config = small_config(Arch::double_decoder);
  config.memory_kv = MemoryKv::per_layer;
  config.n_encoder_layers = config.n_decoder_layers = 1;
  return config;
}

TEST(DoubleDecoderLeak, WithoutMemoryValuesOnlyTheOwnBlockIsRead) {
  Context ctx(2);
  auto model = random_model(two_layers(), Precision::float32());
  // Neither values nor scores of the memory may vary.
  zero_rows(model->parameters().find("decoder_layers.0.attention.memory_kv.weight"), 0, 2 * 32);
  std::vector<int32_t> boundaries{3, 4, 9};
  Batch batch = random_batch(model->config(), 1, 12, boundaries);
  auto block = [&](int64_t t) {
    return std::count_if(boundaries.begin(), boundaries.end(), [=](int b) { return b <= t; });
  };
  for (int64_t changed = 0; changed < 12; ++changed) {
    std::vector<bool> reached = reach(*model, ctx, batch, changed);
    for (int64_t t = 0; t < 12; ++t) {
      EXPECT_EQ(reached[static_cast<size_t>(t)], t >= changed && block(t) == block(changed)) << changed << " to " << t;
    }
  }
}

TEST(DoubleDecoderLeak, WithoutOwnValuesOnlyEarlierBlocksAndTheTokenItselfAreRead) {
  Context ctx(2);
  auto model = random_model(two_layers(), Precision::float32());
  zero_rows(model->parameters().find("decoder_layers.0.attention.kv.weight"), 0, 2 * 32);
  std::vector<int32_t> boundaries{3, 4, 9};
  Batch batch = random_batch(model->config(), 1, 12, boundaries);
  auto open = [&](int64_t t) {
    int64_t opened = 0;
    for (int32_t b : boundaries) opened = b <= t ? b : opened;
    return opened;
  };
  for (int64_t changed = 0; changed < 12; ++changed) {
    std::vector<bool> reached = reach(*model, ctx, batch, changed);
    for (int64_t t = 0; t < 12; ++t) {
      // The encoder is causal over the row, so its output before the block carries all tokens before the block; block 0
      // reads the encoder's output of token 0.
      bool expected = changed == t || changed < open(t) || changed == 0;
      EXPECT_EQ(reached[static_cast<size_t>(t)], expected) << changed << " to " << t;
    }
  }
}

// Where blocks open matters, and nothing but the row's own blocks does.
TEST(DoubleDecoderLeak, ABoundaryChangesTheLogitsFromThereOn) {
  Context ctx(2);
  auto model = random_model(small_config(Arch::double_decoder), Precision::float32());
  auto one = logits_of(*model, random_batch(model->config(), 1, 12, {3, 8}), ctx);
  auto other = logits_of(*model, random_batch(model->config(), 1, 12, {3, 6}), ctx);
  for (size_t t = 0; t < 6; ++t) EXPECT_EQ(one[t], other[t]);
  for (size_t t = 6; t < 12; ++t) EXPECT_NE(one[t], other[t]);
}

TEST(DoubleDecoderLeak, BoundariesOutOfOrderOrRangeAreInputErrors) {
  Context ctx(1);
  auto model = random_model(small_config(Arch::double_decoder), Precision::float32());
  for (std::vector<int32_t> bad : {std::vector<int32_t>{0}, {-1}, {5, 5}, {6, 5}, {12}}) {
    EXPECT_THROW(logits_of(*model, random_batch(model->config(), 1, 12, bad), ctx), InputError);
  }
}

}  // namespace
}  // namespace tandem::test
