#include "data/loader.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "base/json.h"
#include "data/permutation.h"
#include "helpers.h"

namespace tandem {
namespace {

constexpr PackRule kRule{.length = 16, .bos = 1, .eos = 2};

TEST(Permutation, IsABijectionOfEverySize) {
  for (uint64_t size : {1, 2, 3, 4, 5, 15, 16, 17, 64, 100, 257, 1000}) {
    Permutation order(size, 7, 3);
    std::vector<bool> seen(size);
    for (uint64_t i = 0; i < size; ++i) {
      ASSERT_LT(order(i), size);
      EXPECT_FALSE(seen[order(i)]);
      seen[order(i)] = true;
    }
  }
}

TEST(Permutation, DependsOnSeedAndStream) {
  auto order_of = [](uint64_t seed, uint64_t stream) {
    Permutation order(50, seed, stream);
    std::vector<uint64_t> all;
    for (uint64_t i = 0; i < 50; ++i) all.push_back(order(i));
    return all;
  };
  EXPECT_EQ(order_of(1, 2), order_of(1, 2));
  std::set<std::vector<uint64_t>> different;
  for (uint64_t seed : {0, 1, 2}) {
    for (uint64_t stream : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 40}) different.insert(order_of(seed, stream));
  }
  EXPECT_EQ(different.size(), 9u);
}

// Each of the 24 orders of four things is equally likely: chi-square with 23 degrees of freedom.
TEST(Permutation, OrdersAreUniform) {
  std::map<std::vector<uint64_t>, int> counts;
  constexpr int kTrials = 24000;
  for (uint64_t stream = 0; stream < kTrials; ++stream) {
    Permutation order(4, 11, stream);
    ++counts[{order(0), order(1), order(2), order(3)}];
  }
  ASSERT_EQ(counts.size(), 24u);
  double chi = 0;
  for (const auto& [order, count] : counts) chi += (count - 1000.0) * (count - 1000.0) / 1000.0;
  EXPECT_LT(chi, 49.7);  // exceeded with a probability of 0.001
}

std::vector<int32_t> text_of(const Batch& batch) {
  std::vector<int32_t> text;
  for (int32_t id : batch.ids) {
    if (id != kRule.bos && id != kRule.eos) text.push_back(id);
  }
  return text;
}

// The tokens of some epochs in the order in which they must come.
std::vector<int32_t> expected_text(const Documents& documents, int64_t seed, uint64_t epochs) {
  std::vector<int32_t> text;
  for (uint64_t epoch = 0; epoch < epochs; ++epoch) {
    Permutation order(documents.size(), static_cast<uint64_t>(seed), epoch);
    for (uint64_t i = 0; i < documents.size(); ++i) {
      const auto& document = documents[order(i)];
      text.insert(text.end(), document.begin(), document.end());
    }
  }
  return text;
}

TEST(RowStream, ReadsEveryTokenOfEveryEpoch) {
  TemporaryFolder folder;
  Rng rng(1, 1);
  for (int round = 0; round < 20; ++round) {
    Documents documents = random_documents(rng, 1 + rng.below(20), 60);
    documents.push_back({5, 6, 7});
    ShardSet set = write_shards(folder, documents, 1 + rng.below(3));
    RowStream stream(set, kRule, round);
    Batch batch = stream.next_batch(300);
    EXPECT_EQ(batch.rows, 300);
    EXPECT_EQ(batch.tokens(), 300 * 16);
    EXPECT_EQ(batch.positions.size(), batch.ids.size());
    std::vector<int32_t> text = text_of(batch);
    auto epochs = static_cast<uint64_t>(stream.cursor().epoch) + 1;
    std::vector<int32_t> expected = expected_text(documents, round, epochs);
    ASSERT_LE(text.size(), expected.size());
    expected.resize(text.size());
    EXPECT_EQ(text, expected);
  }
}

TEST(RowStream, BatchSizesDoNotMatter) {
  TemporaryFolder folder;
  Rng rng(2, 1);
  Documents documents = random_documents(rng, 20, 60);
  ShardSet set = write_shards(folder, documents);
  RowStream whole(set, kRule, 5), parts(set, kRule, 5);
  Batch expected = whole.next_batch(100);
  Batch joined = empty_batch(16);
  while (joined.rows < 100) {
    Batch part = parts.next_batch(std::min<int64_t>(1 + rng.below(9), 100 - joined.rows));
    joined.ids.insert(joined.ids.end(), part.ids.begin(), part.ids.end());
    joined.labels.insert(joined.labels.end(), part.labels.begin(), part.labels.end());
    joined.segments.insert(joined.segments.end(), part.segments.begin(), part.segments.end());
    joined.rows += part.rows;
  }
  EXPECT_EQ(joined.ids, expected.ids);
  EXPECT_EQ(joined.labels, expected.labels);
  EXPECT_EQ(joined.segments, expected.segments);
  EXPECT_EQ(parts.cursor(), whole.cursor());
}

TEST(RowStream, ResumesAtAnyPointWithTheSameRows) {
  TemporaryFolder folder;
  Rng rng(3, 1);
  for (int round = 0; round < 50; ++round) {
    Documents documents = random_documents(rng, 1 + rng.below(12), 80);
    documents.push_back({9});
    ShardSet set = write_shards(folder, documents);
    RowStream stream(set, kRule, 17);
    stream.next_batch(rng.below(60));
    // Through text, as a checkpoint does.
    Json state = Json::parse(stream.state().dump());
    RowStream resumed(set, kRule, 17);
    resumed.next_batch(rng.below(5));
    resumed.restore(state, "checkpoint");
    EXPECT_EQ(resumed.cursor(), stream.cursor());
    EXPECT_EQ(resumed.next_batch(40).ids, stream.next_batch(40).ids);
    EXPECT_EQ(resumed.cursor(), stream.cursor());
  }
}

TEST(RowStream, EpochsAndSeedsHaveTheirOwnOrder) {
  TemporaryFolder folder;
  Documents documents;
  for (int32_t i = 0; i < 40; ++i) documents.push_back(std::vector<int32_t>(15, 3 + i));
  ShardSet set = write_shards(folder, documents);
  RowStream stream(set, kRule, 1), other(set, kRule, 2);
  std::vector<int32_t> first = stream.next_batch(40).ids, second = stream.next_batch(40).ids;
  EXPECT_EQ(stream.cursor(), (Cursor{.epoch = 2, .tokens = 80 * 16}));
  EXPECT_EQ(stream.epochs(), 2.0);
  EXPECT_NE(first, second);
  EXPECT_NE(first, other.next_batch(40).ids);
  std::sort(first.begin(), first.end());
  std::sort(second.begin(), second.end());
  EXPECT_EQ(first, second);
}

TEST(RowStream, StatesOfOtherDataAreRefused) {
  TemporaryFolder folder, elsewhere;
  ShardSet set = write_shards(folder, {{5, 6, 7}, {8, 9}});
  RowStream stream(set, kRule, 1);
  Json state = Json::parse(stream.state().dump());
  auto error = [&](const char* key, const Json& value) {
    Json changed = state;
    (changed.contains(key) ? changed : changed["parts"][0])[key] = value;
    return input_error_of([&] { stream.restore(changed, "state.json"); });
  };
  EXPECT_NE(error("epoch", -1).find("outside"), std::string::npos);
  EXPECT_NE(error("document", 2).find("outside"), std::string::npos);
  EXPECT_NE(error("document", -1).find("outside"), std::string::npos);
  EXPECT_NE(error("offset", 3).find("outside"), std::string::npos);
  EXPECT_NE(error("offset", -1).find("outside"), std::string::npos);
  EXPECT_NE(error("offset", "x").find("state.json"), std::string::npos);
  EXPECT_NE(error("seed", 2).find("seed"), std::string::npos);
  EXPECT_NE(error("data", "0").find("other training data"), std::string::npos);
  ShardSet changed = write_shards(elsewhere, {{5, 6, 7}, {8, 10}});
  RowStream other(changed, kRule, 1);
  EXPECT_THROW(other.restore(state, "state.json"), InputError);
}

TEST(RowStream, DataWithoutATokenIsRefused) {
  TemporaryFolder folder;
  ShardSet set = write_shards(folder, {{}, {}});
  EXPECT_THROW(RowStream(set, kRule, 1), InputError);
}

}  // namespace
}  // namespace tandem
