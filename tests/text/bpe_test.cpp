#include "text/bpe.h"

#include <gtest/gtest.h>

#include <array>

#include "text/helpers.h"

namespace tandem {
namespace {

using Ids = std::vector<int32_t>;

Ids encode(const BpeModel& model, std::string_view word) {
  Ids ids;
  model.encode_word(word, ids);
  return ids;
}

// Joins the leftmost pair of the lowest rank, one at a time, looking through everything anew.
void merge_slowly(Ids& symbols, const MergeTable& merges) {
  for (;;) {
    Merge best;
    size_t place = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      Merge merge = merges.find(symbols[i], symbols[i + 1]);
      if (merge.rank < best.rank) {
        best = merge;
        place = i;
      }
    }
    if (best.rank == UINT32_MAX) return;
    symbols[place] = best.id;
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(place) + 1);
  }
}

TEST(MergeSymbols, AllWaysGiveTheSame) {
  Rng rng(5, 0);
  for (int round = 0; round < 300; ++round) {
    // Ids 0 to 3 are characters; each merge makes the next id.
    MergeTable merges(40);
    for (uint32_t rank = 0; rank < 40; ++rank) {
      int32_t next = 4 + static_cast<int32_t>(rank);
      int32_t left = static_cast<int32_t>(rng.below(static_cast<uint32_t>(next)));
      int32_t right = static_cast<int32_t>(rng.below(static_cast<uint32_t>(next)));
      if (merges.find(left, right).id < 0) merges.insert(left, right, {rank, next});
    }
    for (uint32_t length : {0u, 1u, 2u, 7u, 30u, 48u, 49u, 200u}) {
      Ids word = {-7};  // what stands before the word must stay
      for (uint32_t i = 0; i < length; ++i) word.push_back(static_cast<int32_t>(rng.below(4)));
      Ids slow(word.begin() + 1, word.end());
      merge_slowly(slow, merges);
      slow.insert(slow.begin(), -7);
      using Way = void (*)(Ids&, size_t, const MergeTable&);
      for (Way way : std::array<Way, 3>{merge_by_scanning, merge_by_heap, merge_symbols}) {
        Ids merged = word;
        merged[0] = 1000;  // ids are never negative
        way(merged, 1, merges);
        merged[0] = -7;
        ASSERT_EQ(merged, slow) << length;
      }
    }
  }
}

TEST(Bpe, UnknownCharacters) {
  std::vector<std::string> tokens = {"<unk>", "a", "b", "ab"};
  std::vector<BpeModel::MergeRule> merges = {{1, 2, 3, 0}};
  EXPECT_EQ(encode(BpeModel(tokens, merges, {}, false), "aéb日b"), (Ids{3, 2}));
  EXPECT_EQ(encode(BpeModel(tokens, merges, {.unknown = 0}, false), "aé日b"), (Ids{1, 0, 0, 2}));
  EXPECT_EQ(encode(BpeModel(tokens, merges, {.unknown = 0, .fuse_unknown = true}, false), "aé日b日"),
            (Ids{1, 0, 2, 0}));
  EXPECT_EQ(encode(BpeModel(tokens, merges, {.unknown = 0}, true), "aéb"), (Ids{1, 0, 0, 2}));
}

TEST(Bpe, ByteFallbackIsAllOrNothing) {
  std::vector<std::string> tokens = {"<unk>", "a", "<0xC3>", "<0xA9>"};
  BpeModel model(tokens, {}, {.unknown = 0, .byte_fallback = true}, false);
  EXPECT_EQ(encode(model, "aéä"), (Ids{1, 2, 3, 0}));
}

TEST(Bpe, IgnoreMergesTakesWholeWords) {
  std::vector<std::string> tokens = {"a", "b", "ab", "aba"};
  std::vector<BpeModel::MergeRule> merges = {{0, 1, 2, 0}};
  EXPECT_EQ(encode(BpeModel(tokens, merges, {}, true), "aba"), (Ids{2, 0}));
  EXPECT_EQ(encode(BpeModel(tokens, merges, {.ignore_merges = true}, true), "aba"), (Ids{3}));
  EXPECT_EQ(encode(BpeModel(tokens, merges, {.ignore_merges = true}, true), "abab"), (Ids{2, 2}));
}

}  // namespace
}  // namespace tandem
