#include "data/disk_space.h"

#include "base/json.h"
#include "data/token_data.h"
#include "helpers.h"

namespace tandem {
namespace {

DiskPlan with_free(uint64_t free, uint64_t other = 0) {
  return {.other_bytes = other, .free = [free](const std::filesystem::path&) { return free; }};
}

TEST(DiskSpace, BytesAreWrittenForPeople) {
  EXPECT_EQ(format_bytes(1023), "1023 bytes");
  EXPECT_EQ(format_bytes(1536), "1.5 KiB");
  EXPECT_EQ(format_bytes(uint64_t{5} << 30), "5.0 GiB");
  EXPECT_EQ(format_bytes(UINT64_MAX), "16.0 EiB");
}

TEST(DiskSpace, WhatFitsIsAllowedAndWhatDoesNotIsNamed) {
  EXPECT_NO_THROW(require_disk_space("/x", 700, "shards", with_free(1000, 300)));
  std::string error =
      input_error_of([&] { require_disk_space("/runs/a", 4096, "tokenised text", with_free(6143, 2048)); });
  EXPECT_NE(error.find("/runs/a"), std::string::npos) << error;
  EXPECT_NE(error.find("got 6.0 KiB free"), std::string::npos) << error;
  EXPECT_NE(error.find("6.0 KiB (4.0 KiB for tokenised text and 2.0 KiB for checkpoints)"), std::string::npos) << error;
}

TEST(DiskSpace, FoldersThatDoNotExistYetStandOnADisk) {
  TemporaryFolder folder;
  EXPECT_GT(free_disk_bytes(folder.path()), 0u);
  EXPECT_GT(free_disk_bytes(folder.path() / "not" / "there" / "yet"), 0u);
}

TEST(DiskSpace, NothingIsWrittenWhenTheTokensDoNotFit) {
  TemporaryFolder folder;
  std::string lines;
  for (int i = 0; i < 200; ++i) {
    lines += Json{{"text", fmt::format("document {}", i)}, {"more", std::string(50, 'm')}}.dump() + "\n";
  }
  DataConfig config;
  config.sources = {folder.write("a.jsonl", lines)};
  Corpus corpus(config);
  Tokenizer tokenizer = byte_tokenizer();
  ThreadPool pool(2);
  auto cache = folder.path() / "cache";
  auto prepare = [&](const DiskPlan& disk) { return TokenData::prepare(tokenizer, config, corpus, pool, cache, disk); };
  std::string error = input_error_of([&] { prepare(with_free(6000)); });
  EXPECT_NE(error.find("not enough space"), std::string::npos) << error;
  EXPECT_FALSE(std::filesystem::exists(cache));
  // What was estimated is what is written, without the headers of the files.
  TokenData data = prepare(with_free(UINT64_MAX));
  uint64_t bytes = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(cache)) {
    if (entry.path().extension() == ".tokens") bytes += entry.file_size();
  }
  std::filesystem::remove_all(cache);
  EXPECT_NO_THROW(prepare(with_free(bytes)));
  std::filesystem::remove_all(cache);
  EXPECT_NE(input_error_of([&] { prepare(with_free(bytes - 400)); }).find("not enough"), std::string::npos);
  EXPECT_NE(input_error_of([&] { prepare(with_free(bytes + 1000, 2000)); }).find("checkpoints"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(cache));
}

TEST(DiskSpace, ACorpusThatNoDiskHoldsIsRefusedAtOnce) {
  TemporaryFolder folder;
  DataConfig config;
  config.sources = {"synthetic"};
  config.synthetic_bytes = int64_t{1} << 60;
  Corpus corpus(config);
  Tokenizer tokenizer = byte_tokenizer();
  ThreadPool pool(2);
  auto cache = folder.path() / "cache";
  EXPECT_NE(input_error_of([&] { TokenData::prepare(tokenizer, config, corpus, pool, cache); }).find("not enough"),
            std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(cache));
}

}  // namespace
}  // namespace tandem
