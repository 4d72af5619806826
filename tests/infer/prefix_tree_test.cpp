#include "infer/prefix_tree.h"

#include <gtest/gtest.h>

#include <set>

#include "base/rng.h"

namespace tandem {
namespace {

// A state that knows nothing but how much it has read, and how many of its kind there are.
class CountedState final : public State {
 public:
  CountedState(std::vector<int32_t> ids, int& alive, bool cuts) : ids_(std::move(ids)), alive_(alive), cuts_(cuts) {
    ++alive_;
  }
  ~CountedState() override { --alive_; }
  const std::vector<int32_t>& ids() const { return ids_; }

  int64_t length() const override { return static_cast<int64_t>(ids_.size()); }
  int64_t written() const override { return 0; }
  StateBytes token_bytes() const override { return {}; }
  StateBytes page_bytes() const override { return {}; }
  std::unique_ptr<State> fork() const override { return std::make_unique<CountedState>(ids_, alive_, cuts_); }
  void unwrite(int64_t) override {}
  bool keep_read(int64_t length) override {
    if (!cuts_) return length == this->length();
    ids_.resize(static_cast<size_t>(length));
    return true;
  }
  std::vector<int32_t> unread_block() const override { return {}; }
  void close_block() override {}
  int64_t end_of_read(int64_t count) const override { return length() + count; }
  int64_t end_of_write(int64_t count) const override { return length() + count; }
  bool reserve_read(int64_t) override { return true; }
  bool reserve_write(int64_t) override { return true; }
  void transfer(StateArchive&) override {}

 private:
  std::vector<int32_t> ids_;
  int& alive_;
  bool cuts_;
};

class Tree : public testing::Test {
 protected:
  void insert(const std::vector<int32_t>& ids, bool cuts = true) {
    tree_.insert(ids, std::make_unique<CountedState>(ids, alive_, cuts));
  }
  // What the state found has read; it must be the beginning of `ids`.
  int64_t found(const std::vector<int32_t>& ids) {
    PrefixTree::Match match = tree_.find(ids);
    if (!match.state) return 0;
    const auto& read = static_cast<const CountedState&>(*match.state).ids();
    EXPECT_EQ(static_cast<int64_t>(read.size()), match.tokens);
    EXPECT_TRUE(std::equal(read.begin(), read.end(), ids.begin()));
    return match.tokens;
  }

  int alive_ = 0;
  PrefixTree tree_;
};

TEST_F(Tree, FindsTheLongestCommonBeginning) {
  EXPECT_EQ(found({1, 2}), 0);
  insert({1, 2, 3, 4, 5});
  EXPECT_EQ(found({1, 2, 3, 4, 5}), 5);
  EXPECT_EQ(found({1, 2, 3, 4, 5, 6}), 5);
  EXPECT_EQ(found({1, 2, 3}), 3) << "in the middle of what was read";
  EXPECT_EQ(found({1, 2, 9}), 2);
  EXPECT_EQ(found({9}), 0);
  EXPECT_EQ(found({}), 0);
  insert({1, 2, 7});
  insert({1, 2, 3});
  EXPECT_EQ(tree_.states(), 3);
  EXPECT_EQ(found({1, 2, 7, 8}), 3);
  EXPECT_EQ(found({1, 2, 3, 4, 0}), 4);
  insert({1, 2, 3});
  EXPECT_EQ(tree_.states(), 3) << "the same once more";
}

TEST_F(Tree, StatesThatCannotBeCutServeOnlyWhole) {
  insert({1, 2, 3, 4}, /*cuts=*/false);
  EXPECT_EQ(found({1, 2, 3}), 0);
  EXPECT_EQ(found({1, 2, 3, 4}), 4);
  EXPECT_EQ(found({1, 2, 3, 4, 5}), 4);
  insert({1, 2, 3, 4, 5, 6, 7}, /*cuts=*/false);
  insert({1, 2, 3, 4, 5, 6, 8}, /*cuts=*/false);
  EXPECT_EQ(found({1, 2, 3, 4, 5, 6, 9}), 4) << "the first goes on to it, the others went elsewhere";
  EXPECT_EQ(found({1, 2, 3, 4, 5}), 4);
  EXPECT_EQ(found({1, 2, 3}), 0);
  EXPECT_EQ(found({1, 2, 3, 4, 5, 6, 8, 8}), 7);
}

TEST_F(Tree, EvictsWhatWasNotUsedForTheLongestTime) {
  insert({1, 1});
  insert({2, 2});
  insert({3, 3});
  EXPECT_EQ(found({1}), 1);
  EXPECT_TRUE(tree_.evict());
  EXPECT_EQ(found({2, 2}), 0);
  EXPECT_EQ(found({3, 3}), 2);
  EXPECT_EQ(found({1, 1}), 2);
  EXPECT_TRUE(tree_.evict());
  EXPECT_EQ(found({3, 3}), 0);
  tree_.clear();
  EXPECT_FALSE(tree_.evict());
  EXPECT_EQ(alive_, 0);
}

// Against a list of all sequences in memory.
TEST_F(Tree, RandomHistoriesFindWhatAListFinds) {
  std::vector<std::vector<int32_t>> held;  // the latest used last
  Rng rng(8, 0);
  for (int step = 0; step < 3000; ++step) {
    std::vector<int32_t> ids(1 + rng.below(6));
    for (int32_t& id : ids) id = static_cast<int32_t>(rng.below(3));
    int64_t best = 0;
    for (const auto& each : held) {
      auto common = std::mismatch(each.begin(), each.end(), ids.begin(), ids.end()).first - each.begin();
      best = std::max<int64_t>(best, common);
    }
    ASSERT_EQ(found(ids), best) << "step " << step;
    if (rng.below(3) > 0) {
      insert(ids);
      if (std::find(held.begin(), held.end(), ids) == held.end()) held.push_back(ids);
    } else {
      // Which one goes depends on what find() has used; the number tells.
      bool any = tree_.evict();
      ASSERT_EQ(any, !held.empty());
      std::erase_if(held, [&](const auto& each) {
        PrefixTree::Match match = tree_.find(each);
        return match.tokens < static_cast<int64_t>(each.size());
      });
    }
    ASSERT_LE(static_cast<int64_t>(alive_), tree_.states());
  }
  tree_.clear();
  EXPECT_EQ(alive_, 0);
}

}  // namespace
}  // namespace tandem
