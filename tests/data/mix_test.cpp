// Rows out of several weighted parts, of documents and of conversations: proportions, epochs, and a cursor that goes to
// any place at once.
#include <algorithm>
#include <cmath>
#include <map>

#include "base/json.h"
#include "data/loader.h"
#include "helpers.h"
#include "text/batch_check.h"

namespace tandem {
namespace {

constexpr PackRule kText{.length = 16, .bos = 1, .eos = 2};
constexpr PackRule kMasked{.length = 16, .bos = 1, .eos = 2, .isolated = true};
constexpr PackRule kChat{.length = 16, .bos = 1, .eos = 2, .records = Records::conversations, .assistant = 4, .pad = 5};

// Documents in memory that count how often they are read.
class CountingStore : public DocumentStore {
 public:
  explicit CountingStore(std::vector<std::vector<uint32_t>> all) : documents_(std::move(all)) {
    for (const auto& document : documents_) tokens_ += static_cast<int64_t>(document.size());
  }
  int64_t documents() const override { return static_cast<int64_t>(documents_.size()); }
  int64_t tokens() const override { return tokens_; }
  std::string hash() const override { return "in memory"; }
  std::span<const uint32_t> document(int64_t index) const override {
    ++reads;
    return documents_.at(static_cast<size_t>(index));
  }
  mutable int64_t reads = 0;

 private:
  std::vector<std::vector<uint32_t>> documents_;
  int64_t tokens_ = 0;
};

// The tokens of part p are 100 * (p + 1) and more: a row tells where it came from.
uint32_t token_of(size_t part, Rng& rng) { return static_cast<uint32_t>(100 * (part + 1)) + rng.below(90); }

std::vector<uint32_t> random_document(size_t part, Rng& rng, Records records) {
  std::vector<uint32_t> ids;
  uint32_t body = 1 + rng.below(records == Records::text ? 40 : 6);
  if (records == Records::text) {
    for (uint32_t i = 0; i < body; ++i) ids.push_back(token_of(part, rng));
    return ids;
  }
  ids = {1, 3};
  for (uint32_t i = 0; i < body; ++i) ids.push_back(token_of(part, rng));
  ids.push_back(4 | kResponseBit);
  for (uint32_t i = rng.below(8); i > 0; --i) ids.push_back(token_of(part, rng) | kResponseBit);
  ids.push_back(2 | kResponseBit);
  return ids;
}

struct Mix {
  CountingStore store;
  std::vector<MixPart> parts;
};

Mix make_mix(const std::vector<int64_t>& counts, const std::vector<double>& weights, Records records,
             uint64_t seed = 1) {
  Rng rng(seed, 77);
  std::vector<std::vector<uint32_t>> documents;
  std::vector<MixPart> parts;
  for (size_t part = 0; part < counts.size(); ++part) {
    parts.push_back({.first = static_cast<int64_t>(documents.size()), .count = counts[part], .weight = weights[part]});
    for (int64_t i = 0; i < counts[part]; ++i) documents.push_back(random_document(part, rng, records));
  }
  return {CountingStore(std::move(documents)), std::move(parts)};
}

size_t part_of_row(const Batch& batch, int64_t row) {
  for (int64_t t = 0; t < batch.length; ++t) {
    int32_t id = batch.ids[static_cast<size_t>(row * batch.length + t)];
    if (id >= 100) return static_cast<size_t>(id / 100 - 1);
  }
  ADD_FAILURE() << "a row without a token of any part";
  return 0;
}

int64_t tokens_in_row(const Batch& batch, int64_t row) {
  if (batch.roles.empty()) return batch.length;
  auto begin = batch.roles.begin() + row * batch.length;
  return batch.length - std::count(begin, begin + batch.length, Role::padding);
}

struct MixTest : ::testing::TestWithParam<PackRule> {};

TEST_P(MixTest, TokensFollowTheWeightsAtAnyTime) {
  std::vector<double> weights{3, 1, 0.5};
  Mix mix = make_mix({7, 30, 11}, weights, GetParam().records);
  RowStream stream(mix.store, GetParam(), 5, mix.parts);
  std::vector<double> tokens(3, 0);
  double all = 0;
  for (int64_t row = 0; row < 900; ++row) {
    Batch batch = stream.next_batch(1);
    size_t part = part_of_row(batch, 0);
    EXPECT_EQ(part, stream.last_part());
    tokens[part] += static_cast<double>(tokens_in_row(batch, 0));
    all += static_cast<double>(tokens_in_row(batch, 0));
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_LT(std::abs(tokens[i] - all * weights[i] / 4.5), 2 * 16) << "row " << row << ", part " << i;
    }
  }
}

// The documents of a part come in the orders of its epochs, each once in each.
TEST_P(MixTest, EachPartHasItsOwnEpochs) {
  Mix mix = make_mix({3, 20}, {1, 1}, GetParam().records);
  RowStream stream(mix.store, GetParam(), 5, mix.parts);
  std::vector<std::vector<int32_t>> seen(2);
  for (int64_t row = 0; row < 400; ++row) {
    Batch batch = stream.next_batch(1);
    size_t part = part_of_row(batch, 0);
    for (int32_t id : batch.ids) {
      if (id < 100) continue;
      EXPECT_EQ(static_cast<size_t>(id / 100 - 1), part);
      seen[part].push_back(id);
    }
  }
  EXPECT_GT(stream.epochs(0), 3 * stream.epochs(1));
  for (size_t part = 0; part < 2; ++part) {
    // Whole epochs hold every token of the part equally often.
    std::map<int32_t, int64_t> expected, got;
    int64_t in_epoch = 0;
    for (int64_t i = 0; i < mix.parts[part].count; ++i) {
      for (uint32_t id : mix.store.document(mix.parts[part].first + i)) {
        if (token_id(id) < 100) continue;
        ++expected[token_id(id)];
        ++in_epoch;
      }
    }
    int64_t epochs = static_cast<int64_t>(seen[part].size()) / in_epoch;
    ASSERT_GE(epochs, 2);
    for (int64_t i = 0; i < epochs * in_epoch; ++i) ++got[seen[part][static_cast<size_t>(i)]];
    for (auto& [id, count] : expected) count *= epochs;
    EXPECT_EQ(got, expected);
    EXPECT_NEAR(stream.epochs(part), static_cast<double>(seen[part].size()) / static_cast<double>(in_epoch), 1.0);
  }
}

TEST_P(MixTest, ResumesAnywhereWithTheSameRows) {
  Rng rng(8, 1);
  for (int round = 0; round < 40; ++round) {
    size_t parts = 1 + rng.below(3);
    std::vector<int64_t> counts;
    std::vector<double> weights;
    for (size_t i = 0; i < parts; ++i) {
      counts.push_back(1 + rng.below(15));
      weights.push_back(0.25 + rng.uniform());
    }
    Mix mix = make_mix(counts, weights, GetParam().records, static_cast<uint64_t>(round));
    RowStream stream(mix.store, GetParam(), 9, mix.parts);
    stream.next_batch(rng.below(200));
    Json state = Json::parse(stream.state().dump());
    RowStream resumed(mix.store, GetParam(), 9, mix.parts);
    resumed.next_batch(rng.below(7));
    resumed.restore(state, "checkpoint");
    test::expect_same(resumed.next_batch(40), stream.next_batch(40));
    EXPECT_EQ(resumed.state(), stream.state());
  }
}

// The workers of a run each make their own rows of every step and skip the others': the run reads the same rows.
TEST_P(MixTest, TheNumberOfWorkersDoesNotMatter) {
  Mix mix = make_mix({9, 14}, {2, 1}, GetParam().records);
  RowStream alone(mix.store, GetParam(), 3, mix.parts);
  constexpr int64_t kRowsPerStep = 6;
  for (int64_t workers : {2, 3, 6}) {
    std::vector<RowStream> streams(static_cast<size_t>(workers), RowStream(mix.store, GetParam(), 3, mix.parts));
    for (RowStream& stream : streams) stream.restore(Json::parse(alone.state().dump()), "state");
    for (int step = 0; step < 5; ++step) {
      Batch expected = alone.next_batch(kRowsPerStep), joined = empty_batch(GetParam());
      int64_t share = kRowsPerStep / workers;
      for (int64_t worker = 0; worker < workers; ++worker) {
        RowStream& stream = streams[static_cast<size_t>(worker)];
        stream.skip(worker * share);
        Batch own = stream.next_batch(share);
        for (int64_t row = 0; row < share; ++row) append_copy(joined, own, row);
        stream.skip(kRowsPerStep - (worker + 1) * share);
        EXPECT_EQ(stream.state(), streams.front().state());
      }
      test::expect_same(joined, expected);
    }
    EXPECT_EQ(streams.front().state(), alone.state());
  }
}

// A place that lies millions of rows ahead is reached without reading what lies before it.
TEST_P(MixTest, SeekingReadsNoDocumentsOnTheWay) {
  constexpr int64_t kDocuments = 5000;
  Mix mix = make_mix({kDocuments, kDocuments}, {2, 1}, GetParam().records);
  RowStream stream(mix.store, GetParam(), 3, mix.parts);
  stream.next_batch(10);
  Json state = Json::parse(stream.state().dump());
  // As it would stand after some 1e6 steps of 16 rows.
  for (size_t part = 0; part < 2; ++part) {
    state["parts"][part]["epoch"] = 4000 + static_cast<int64_t>(part);
    state["parts"][part]["document"] = 1234;
    state["parts"][part]["offset"] = 0;
    state["parts"][part]["tokens"] = part == 0 ? 170'000'000 : 85'000'000;
  }
  mix.store.reads = 0;
  stream.restore(state, "checkpoint");
  EXPECT_LE(mix.store.reads, 2);
  Batch row = stream.next_batch(1);
  EXPECT_LE(mix.store.reads, 2 + 16);  // at most one document for each token of the row
  RowStream again(mix.store, GetParam(), 3, mix.parts);
  again.restore(state, "checkpoint");
  test::expect_same(again.next_batch(1), row);
}

INSTANTIATE_TEST_SUITE_P(Kinds, MixTest, ::testing::Values(kText, kMasked, kChat), [](const auto& rule) {
  return rule.param.records == Records::conversations ? "Conversations" : rule.param.isolated ? "Masked" : "Text";
});

TEST(RowStreamParts, OnePartOfAllDocumentsIsNoParts) {
  Mix mix = make_mix({25}, {7}, Records::text);
  RowStream plain(mix.store, kText, 4), weighted(mix.store, kText, 4, mix.parts);
  test::expect_same(plain.next_batch(60), weighted.next_batch(60));
}

TEST(RowStreamParts, StatesOfOtherMixesAreRefused) {
  Mix mix = make_mix({5, 6}, {1, 1}, Records::conversations);
  RowStream stream(mix.store, kChat, 1, mix.parts), plain(mix.store, kChat, 1);
  stream.next_batch(5);
  Json state = Json::parse(stream.state().dump());
  auto error = [&](RowStream& into, const Json& changed) {
    return input_error_of([&] { into.restore(changed, "state.json"); });
  };
  EXPECT_NE(error(plain, state).find("another mix"), std::string::npos);
  Json changed = state;
  changed["parts"] = 3;
  EXPECT_NE(error(stream, changed).find("no list of parts"), std::string::npos);
  changed = state;
  changed["parts"][1]["offset"] = 1;  // no conversation is read in part
  EXPECT_NE(error(stream, changed).find("outside"), std::string::npos);
  changed = state;
  changed["parts"][1]["tokens"] = -1;
  EXPECT_NE(error(stream, changed).find("outside"), std::string::npos);
  changed = state;
  changed["parts"][1]["document"] = 6;
  EXPECT_NE(error(stream, changed).find("outside"), std::string::npos);
  // Nothing was taken over from a state that was refused.
  EXPECT_EQ(Json::parse(stream.state().dump()), state);
}

TEST(RowStreamParts, ConversationsThatAreTooLongAreLeftOutAndOthersAreNot) {
  Rng rng(5, 5);
  std::vector<std::vector<uint32_t>> documents;
  for (int i = 0; i < 30; ++i) {
    auto document = random_document(0, rng, Records::conversations);
    if (i % 3 == 0) document.insert(document.begin() + 2, 20, 150);
    documents.push_back(document);
  }
  CountingStore store(documents);
  RowStream stream(store, kChat, 2);
  Batch batch = stream.next_batch(200);
  EXPECT_GT(stream.epochs(), 4);
  std::map<int32_t, int64_t> ids;
  for (int32_t id : batch.ids) ++ids[id];
  EXPECT_EQ(ids[1], ids[4]);  // each conversation that was taken is there from BOS to its answer
  for (int64_t row = 0; row < batch.rows; ++row) EXPECT_EQ(batch.ids[static_cast<size_t>(row * 16)], 1);

  std::vector<std::vector<uint32_t>> only_long{documents[0], documents[3]};
  CountingStore none(only_long);
  RowStream empty(none, kChat, 2);
  EXPECT_NE(input_error_of([&] { empty.next_batch(1); }).find("data.long_conversations"), std::string::npos);
}

}  // namespace
}  // namespace tandem
