#include "cache/spilled_rows.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <fstream>
#include <numeric>

#include "base/temporary_folder.h"

namespace tandem::test {
namespace {

namespace fs = std::filesystem;

class Spilled : public testing::Test {
 protected:
  // Rows whose every number tells token and column.
  void append(PagedRows& rows, int64_t count) {
    ASSERT_TRUE(rows.reserve(count));
    std::vector<int32_t> slots;
    auto first = static_cast<float>(rows.length());
    rows.append(count, slots);
    for (size_t i = 0; i < slots.size(); ++i) {
      for (size_t c = 0; c < 2; ++c) {
        Tensor column = pool_.column(c);
        std::fill_n(column.row<float>(slots[i]), column.row_size(), first + static_cast<float>(i) + 0.5f * c);
      }
    }
  }
  void expect_whole(const PagedRows& rows, int64_t length) {
    ASSERT_EQ(rows.length(), length);
    for (int64_t t = 0; t < length; ++t) {
      for (size_t c = 0; c < 2; ++c) {
        ASSERT_EQ(pool_.column(c).row<float>(rows.row(t))[2], static_cast<float>(t) + 0.5f * c) << t;
      }
    }
  }
  int64_t files() { return std::distance(fs::directory_iterator(folder_.path()), fs::directory_iterator()); }
  fs::path only_file() { return fs::directory_iterator(folder_.path())->path(); }

  TemporaryFolder folder_;
  MemoryBudget budget_{int64_t{1} << 30};
  PagePool pool_{budget_, {{DType::f32, 1, 3}, {DType::f32, 2, 2}}, 1000};
  std::shared_ptr<SpillFolder> spill_ = std::make_shared<SpillFolder>(folder_.path());
};

TEST_F(Spilled, RowsComeBackWhole) {
  PagedRows rows(pool_);
  SpilledRows spilled(spill_);
  append(rows, 150);
  EXPECT_TRUE(spilled.write(rows));
  EXPECT_EQ(spilled.length(), 150);
  rows.trim(0);
  EXPECT_EQ(pool_.pages_in_use(), 0);
  spilled.read(rows);
  expect_whole(rows, 150);
  // Only what is new goes to the disk.
  append(rows, 3);
  int64_t before = spill_->bytes_written();
  EXPECT_TRUE(spilled.write(rows));
  EXPECT_LT(spill_->bytes_written() - before, 200);
  EXPECT_TRUE(spilled.write(rows));
  EXPECT_EQ(files(), 2);
  rows.trim(70);
  spilled.read(rows);
  expect_whole(rows, 153);
}

TEST_F(Spilled, CopiesShareFilesAndTheLastRemovesThem) {
  PagedRows rows(pool_), other(pool_);
  {
    SpilledRows spilled(spill_);
    append(rows, 100);
    spilled.write(rows);
    SpilledRows copy = spilled;
    copy.trim(60);
    EXPECT_EQ(copy.length(), 60);
    copy.read(other);
    expect_whole(other, 60);
    // What comes behind the cut belongs to the copy alone.
    append(other, 30);
    copy.write(other);
    EXPECT_EQ(files(), 2);
    other.trim(0);
    copy.read(other);
    expect_whole(other, 90);
    spilled.trim(0);
    EXPECT_EQ(files(), 2) << "the copy still needs it";
  }
  EXPECT_EQ(files(), 0);
}

TEST_F(Spilled, DamagedAndMissingFilesAreAsGoodAsAbsent) {
  for (bool missing : {false, true}) {
    PagedRows rows(pool_);
    SpilledRows spilled(spill_);
    append(rows, 100);
    spilled.write(rows);
    fs::path first = only_file();
    append(rows, 20);
    spilled.write(rows);
    fs::path second;
    for (const auto& entry : fs::directory_iterator(folder_.path())) {
      if (entry.path() != first) second = entry.path();
    }
    if (missing) {
      fs::remove(second);
    } else {
      fs::resize_file(second, fs::file_size(second) - 1);
    }
    rows.trim(0);
    spilled.read(rows);
    expect_whole(rows, 100);
    EXPECT_EQ(spilled.length(), 100);
    std::fstream file(first, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(300);
    file.put('\x55');
    file.close();
    rows.trim(0);
    spilled.read(rows);
    EXPECT_EQ(rows.length(), 0);
    EXPECT_EQ(spilled.length(), 0);
  }
}

TEST_F(Spilled, AFullDiskIsNotFatal) {
  PagedRows rows(pool_);
  SpilledRows spilled(spill_);
  append(rows, 100);
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit small{1000, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  bool written = spilled.write(rows);
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_FALSE(written);
  EXPECT_EQ(spilled.length(), 0);
  EXPECT_EQ(files(), 0) << "no part is left";
  EXPECT_TRUE(spilled.write(rows)) << "there is room again";
  fs::remove_all(folder_.path());
  append(rows, 5);
  EXPECT_FALSE(spilled.write(rows)) << "the folder is gone";
  EXPECT_EQ(spilled.length(), 100);
}

TEST_F(Spilled, WhatAKilledProcessLeftIsRemoved) {
  std::ofstream(folder_.path() / "spilled-999999999-abc-0") << "x";  // no system has so large a process id
  std::ofstream(folder_.path() / "something-else") << "x";
  SpillFolder folder(folder_.path());
  EXPECT_EQ(files(), 1);
}

TEST_F(Spilled, WithoutAFolderNothingIsSpilled) {
  PagedRows rows(pool_);
  SpilledRows spilled(nullptr);
  append(rows, 10);
  EXPECT_TRUE(spilled.write(rows));
  EXPECT_EQ(spilled.length(), 0);
  spilled.read(rows);
  expect_whole(rows, 10);
}

}  // namespace
}  // namespace tandem::test
