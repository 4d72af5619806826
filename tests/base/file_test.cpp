#include "base/file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>

#include "base/error.h"
#include "base/temporary_folder.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;
using test::message_of;
using test::TemporaryFolder;

size_t files_in(const fs::path& folder) {
  return static_cast<size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator{}));
}

// Files of this process may not grow beyond `bytes` while it lives: the nearest thing to a full disk that a test can
// make without a file system of its own.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : old_handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &old_);
    rlimit limit{bytes, old_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &old_);
    std::signal(SIGXFSZ, old_handler_);
  }

 private:
  rlimit old_{};
  void (*old_handler_)(int);
};

TEST(ReadFile, GivesAllBytes) {
  TemporaryFolder folder;
  std::string bytes;
  for (int i = 0; i < 200'000; ++i) bytes += static_cast<char>(i * 7);
  write_file_atomically(folder / "a", bytes);
  EXPECT_EQ(read_file(folder / "a"), bytes);
  EXPECT_EQ(MappedFile(folder / "a").text(), bytes);
  EXPECT_EQ(read_file("/proc/self/comm").back(), '\n') << "a file that claims to have no size";
}

TEST(ReadFile, NamesWhatIsWrong) {
  TemporaryFolder folder;
  auto missing = folder / "none";
  EXPECT_EQ(message_of<InputError>([&] { read_file(missing); }),
            "cannot open file: " + missing.string() + ": got No such file or directory");
  EXPECT_EQ(message_of<InputError>([&] { MappedFile{missing}; }),
            "cannot open file: " + missing.string() + ": got No such file or directory");
  std::string is_folder = "cannot read file: " + folder.path().string() + ": got a folder, expected a file";
  EXPECT_EQ(message_of<InputError>([&] { read_file(folder.path()); }), is_folder);
  EXPECT_EQ(message_of<InputError>([&] { MappedFile{folder.path()}; }), is_folder);
}

TEST(MappedFile, EmptyFileIsAnEmptySpan) {
  TemporaryFolder folder;
  write_file_atomically(folder / "empty", "");
  MappedFile map(folder / "empty");
  EXPECT_TRUE(map.bytes().empty());
  EXPECT_EQ(map.text(), "");
}

TEST(MappedFile, MovesItsMap) {
  TemporaryFolder folder;
  write_file_atomically(folder / "a", "first");
  write_file_atomically(folder / "b", "second");
  MappedFile a(folder / "a");
  MappedFile b(std::move(a));
  EXPECT_EQ(b.text(), "first");
  b = MappedFile(folder / "b");
  EXPECT_EQ(b.text(), "second");
}

TEST(WriteAtomically, ReplacesAndLeavesNothingElse) {
  TemporaryFolder folder;
  write_file_atomically(folder / "a", "old");
  write_file_atomically(folder / "a", "new");
  EXPECT_EQ(read_file(folder / "a"), "new");
  EXPECT_EQ(files_in(folder.path()), 1u);
}

TEST(WriteAtomically, AReaderKeepsTheOldFile) {
  TemporaryFolder folder;
  write_file_atomically(folder / "a", "old");
  MappedFile reader(folder / "a");
  write_file_atomically(folder / "a", "NEW");
  EXPECT_EQ(reader.text(), "old");
}

TEST(WriteAtomically, FullDiskLeavesTheOldFile) {
  TemporaryFolder folder;
  write_file_atomically(folder / "a", "old");
  std::string big(1 << 16, 'x');
  std::string message;
  {
    FileSizeLimit limit(4096);
    message = message_of<JobError>([&] { write_file_atomically(folder / "a", big); });
  }
  EXPECT_EQ(message, "cannot write file: " + (folder / "a").string() + ": got File too large");
  EXPECT_EQ(read_file(folder / "a"), "old");
  EXPECT_EQ(files_in(folder.path()), 1u) << "a part of the new file was left behind";
}

TEST(WriteAtomically, MissingFolderIsAJobError) {
  TemporaryFolder folder;
  auto path = folder / "none/a";
  EXPECT_EQ(message_of<JobError>([&] { write_file_atomically(path, "x"); }),
            "cannot create file: " + path.string() + ": got No such file or directory");
}

TEST(WriteAtomically, ATargetThatIsAFolderIsAJobError) {
  TemporaryFolder folder;
  create_folder(folder / "a/b");
  EXPECT_THROW(write_file_atomically(folder / "a", "x"), JobError);
  EXPECT_EQ(files_in(folder.path()), 1u);
}

TEST(FileWriter, WritesPiecesAndPatchesEarlierBytes) {
  TemporaryFolder folder;
  FileWriter writer(folder / "a");
  writer.write("0000");
  writer.write(" body", 5);
  EXPECT_EQ(writer.position(), 9u);
  writer.write_at(0, "head");
  EXPECT_EQ(writer.position(), 9u);
  EXPECT_FALSE(fs::exists(folder / "a")) << "visible before finish()";
  writer.finish();
  EXPECT_EQ(read_file(folder / "a"), "head body");
}

TEST(FileWriter, UnfinishedLeavesNothing) {
  TemporaryFolder folder;
  {
    FileWriter writer(folder / "a");
    writer.write("half");
  }
  EXPECT_EQ(files_in(folder.path()), 0u);
}

TEST(CreateFolder, MakesParentsAndAcceptsAnExistingOne) {
  TemporaryFolder folder;
  create_folder(folder / "a/b/c");
  create_folder(folder / "a/b/c");
  EXPECT_TRUE(fs::is_directory(folder / "a/b/c"));
  write_file_atomically(folder / "file", "");
  EXPECT_THROW(create_folder(folder / "file"), JobError);
  EXPECT_THROW(create_folder(folder / "file/below"), JobError);
}

TEST(SyncPath, RefusesWhatIsNotThere) {
  TemporaryFolder folder;
  sync_path(folder.path());
  EXPECT_THROW(sync_path(folder / "none"), JobError);
}

}  // namespace
}  // namespace tandem
