#include "formats/tensorboard.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/temporary_folder.h"

namespace tandem {
namespace {

using test::TemporaryFolder;

std::string from_hex(std::string_view hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16));
  }
  return bytes;
}

// RFC 3720, appendix B.4.
TEST(Crc32c, HasThePublishedValues) {
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aaU);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43U);
  std::string rising;
  for (int i = 0; i < 32; ++i) rising += static_cast<char>(i);
  EXPECT_EQ(crc32c(rising), 0x46dd794eU);
  EXPECT_EQ(crc32c("123456789"), 0xe3069283U);
  EXPECT_EQ(crc32c(""), 0U);
}

// What tensorboard 2.21.0 writes for the same events: its classes Event and RecordWriter.
TEST(TensorBoard, RecordsAreThoseOfTheOriginal) {
  std::string expected = from_hex(
      "1800000000000000a37f4b220900001040fc54d9411a0d627261696e2e4576656e743a32338d2fe90f000000000000006d53"
      "2b090900006040fc54d94110013a0208011bd450aa2100000000000000017becf6090000a040fc54d94110ac022a130a110a"
      "0a747261696e2f6c6f73731500005040b874573d4700000000000000bac3fb9b090000e040fc54d9411080f8cce284022a35"
      "0a330a0d67756172642f736b697070656442180807120042126c6f7373206973206e6f742066696e6974654a080a060a0474"
      "65787413a20743");
  std::string written =
      tensorboard_record(tensorboard_version_event(1700000000.25)) +
      tensorboard_record(tensorboard_restart_event(1700000001.5, 1)) +
      tensorboard_record(tensorboard_scalar_event(1700000002.5, 300, "train/loss", 3.25F)) +
      tensorboard_record(tensorboard_text_event(1700000003.5, 70000000000, "guard/skipped", "loss is not finite"));
  EXPECT_EQ(written, expected);
}

// The messages of a file, its checksums checked.
std::vector<std::string> messages(const std::filesystem::path& path) {
  std::string bytes = read_file(path);
  std::vector<std::string> out;
  for (size_t at = 0; at < bytes.size();) {
    uint64_t length = 0;
    std::memcpy(&length, bytes.data() + at, sizeof length);
    std::string message = bytes.substr(at + 12, length);
    EXPECT_EQ(bytes.substr(at, 16 + length), tensorboard_record(message));
    out.push_back(message);
    at += 16 + length;
  }
  return out;
}

// Messages without the wall time: key and 8 bytes in front.
std::string timeless(const std::string& message) { return message.substr(9); }

TEST(EventWriter, EveryStartHasAFileOfItsOwnThatSortsBehind) {
  TemporaryFolder folder;
  std::filesystem::path first, second;
  {
    EventWriter writer(folder / "events", 1);
    writer.scalar(5, "train/loss", 2.5);
    first = writer.path();
  }
  {
    EventWriter writer(folder / "events", 4);
    writer.text(4, "guard/skipped", "loss");
    writer.restart(2);
    second = writer.path();
  }
  EXPECT_LT(first.string(), second.string());
  EXPECT_EQ(first.filename(), "events.out.tfevents.0000000001.tandem");
  std::vector<std::string> expected = {tensorboard_version_event(0), tensorboard_restart_event(0, 1),
                                       tensorboard_scalar_event(0, 5, "train/loss", 2.5F)};
  std::vector<std::string> found = messages(first);
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) EXPECT_EQ(timeless(found[i]), timeless(expected[i])) << i;
  expected = {tensorboard_version_event(0), tensorboard_restart_event(0, 4),
              tensorboard_text_event(0, 4, "guard/skipped", "loss"), tensorboard_restart_event(0, 2)};
  found = messages(second);
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) EXPECT_EQ(timeless(found[i]), timeless(expected[i])) << i;
}

TEST(EventWriter, WhatCannotBeCreatedIsAJobError) {
  TemporaryFolder folder;
  test::put_file(folder / "events", "a file");
  EXPECT_THROW(EventWriter(folder / "events", 1), JobError);
}

}  // namespace
}  // namespace tandem
