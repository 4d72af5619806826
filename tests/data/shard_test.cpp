#include "data/shard.h"

#include <algorithm>
#include <cstring>

#include "base/file.h"
#include "helpers.h"

namespace tandem {
namespace {

Documents documents_of(const ShardSet& set) {
  Documents documents;
  for (int64_t i = 0; i < set.documents(); ++i) {
    auto ids = set.document(i);
    documents.emplace_back(ids.begin(), ids.end());
  }
  return documents;
}

TEST(Shards, GiveBackWhatWasWritten) {
  TemporaryFolder folder;
  Rng rng(1, 1);
  for (int round = 0; round < 20; ++round) {
    Documents documents = random_documents(rng, rng.below(30), 40);
    size_t files = 1 + rng.below(4);
    ShardSet set = write_shards(folder, documents, files);
    EXPECT_EQ(documents_of(set), documents);
    int64_t tokens = 0;
    for (const auto& document : documents) tokens += static_cast<int64_t>(document.size());
    EXPECT_EQ(set.tokens(), tokens);
    EXPECT_EQ(set.text_bytes(), static_cast<uint64_t>(3 * tokens));
    EXPECT_THROW(set.document(-1), LogicError);
    EXPECT_THROW(set.document(set.documents()), LogicError);
  }
}

TEST(Shards, WriterNumbersFilesAndNamesContents) {
  TemporaryFolder folder;
  ShardSetWriter writer(folder.path(), "part", test_space());
  writer.add_document(std::vector<int32_t>{5, 6, 7}, 9);
  writer.add_document({}, 0);
  EXPECT_EQ(writer.finish(), 1);
  ShardSet set = open_shards(folder.path(), "part", 1, test_space());
  EXPECT_EQ(documents_of(set), (Documents{{5, 6, 7}, {}}));
  EXPECT_TRUE(std::filesystem::exists(folder.path() / "part-00000.tokens"));
  EXPECT_NE(set.hash(), write_shards(folder, {{5, 6}, {7}}).hash());
  EXPECT_EQ(set.hash(), write_shards(folder, {{5, 6, 7}, {}}).hash());
  EXPECT_THROW(open_shards(folder.path(), "part", 2, test_space()), InputError);
}

TEST(Shards, AnUnfinishedWriterLeavesNothing) {
  TemporaryFolder folder;
  {
    ShardWriter writer(folder.path() / "a.tokens", test_space());
    writer.add_document(std::vector<int32_t>{5}, 1);
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(Shards, IdsOutsideTheVocabularyAreNotWritten) {
  TemporaryFolder folder;
  ShardWriter writer(folder.path() / "a.tokens", test_space(10));
  EXPECT_THROW(writer.add_document(std::vector<int32_t>{10}, 1), LogicError);
  EXPECT_THROW(writer.add_document(std::vector<int32_t>{-1}, 1), LogicError);
}

struct ShardDamage : ::testing::Test {
  ShardDamage() {
    ShardWriter writer(path, test_space());
    writer.add_document(std::vector<int32_t>{5, 6, 7}, 9);
    writer.add_document(std::vector<int32_t>{8, 9}, 6);
    writer.finish();
    bytes = read_file(path);
  }
  std::string error(const std::string& content) {
    folder.write("a.tokens", content);
    return input_error_of([&] { Shard(path, test_space()); });
  }
  // The file with a u64 of the header replaced.
  std::string with(size_t offset, uint64_t value) const {
    std::string changed = bytes;
    std::memcpy(changed.data() + offset, &value, sizeof value);
    return changed;
  }
  TemporaryFolder folder;
  std::filesystem::path path = folder.path() / "a.tokens";
  std::string bytes;
};

TEST_F(ShardDamage, EveryTruncationIsFound) {
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_NE(error(bytes.substr(0, size)).find("a.tokens"), std::string::npos) << size;
  }
  EXPECT_NE(error(bytes + "x").find("a.tokens"), std::string::npos);
}

TEST_F(ShardDamage, AFlippedBitInAnyByteIsFound) {
  for (size_t at = 0; at < bytes.size(); ++at) {
    std::string changed = bytes;
    changed[at] ^= static_cast<char>(1 << at % 8);
    EXPECT_NE(error(changed).find("a.tokens"), std::string::npos) << at;
  }
}

TEST_F(ShardDamage, HostileCountsAreFoundBeforeTheyAreUsed) {
  for (uint64_t value : {~uint64_t{0}, uint64_t{1} << 63, uint64_t{1} << 62, uint64_t{1} << 61, uint64_t{1} << 32}) {
    EXPECT_NE(error(with(40, value)).find("a longer file"), std::string::npos);  // documents
    EXPECT_NE(error(with(48, value)).find("a longer file"), std::string::npos);  // tokens
  }
  EXPECT_NE(error(with(96 + 24 + 8, 6)).find("out of order"), std::string::npos);
  EXPECT_NE(error(with(96 + 24 + 8, ~uint64_t{0})).find("out of order"), std::string::npos);
  std::string foreign = bytes;
  foreign[96 + 4] = 100;
  EXPECT_NE(error(foreign).find("id 100 at token 1"), std::string::npos);
}

TEST_F(ShardDamage, AnotherTokenizerIsNamed) {
  TokenSpace other = test_space();
  other.tokenizer_hash = "fedcba9876543210";
  EXPECT_NE(input_error_of([&] { Shard(path, other); }).find("tokenizer 0123456789abcdef"), std::string::npos);
  EXPECT_NE(input_error_of([&] { Shard(path, test_space(101)); }).find("100 vocabulary entries"), std::string::npos);
}

}  // namespace
}  // namespace tandem
