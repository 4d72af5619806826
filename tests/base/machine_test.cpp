#include "base/machine.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <vector>

#include "base/temporary_folder.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;
using test::put_file;
using test::TemporaryFolder;

// A file system with the files that the kernel would show.
class Machine : public testing::Test {
 protected:
  void put(const std::string& path, const std::string& text) const {
    fs::create_directories((folder / path).parent_path());
    put_file(folder / path, text);
  }
  void SetUp() override {
    put("proc/meminfo",
        "MemTotal:       16000 kB\nMemFree:          100 kB\nMemAvailable:    9000 kB\nSwapTotal: 5 kB\n");
  }
  TemporaryFolder folder;
};

TEST_F(Machine, HasTheKernelsFigures) {
  MachineMemory memory = machine_memory(folder.path());
  EXPECT_EQ(memory.total, 16000 * 1024);
  EXPECT_EQ(memory.available, 9000 * 1024);
}

TEST_F(Machine, IsLimitedByTheLowestGroupAboveTheProcess) {
  put("proc/self/cgroup", "0::/user/job\n");
  put("sys/fs/cgroup/user/job/memory.max", "max\n");
  put("sys/fs/cgroup/user/memory.max", "8192000\n");
  put("sys/fs/cgroup/memory.max", "12288000\n");
  MachineMemory memory = machine_memory(folder.path());
  EXPECT_EQ(memory.total, 8192000);
  EXPECT_EQ(memory.available, 8192000);
}

TEST_F(Machine, ReadsGroupsOfTheFirstVersion) {
  put("proc/self/cgroup", "12:cpu:/x\n5:memory:/box\n");
  put("sys/fs/cgroup/memory/box/memory.limit_in_bytes", "4096000\n");
  put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");  // no limit
  EXPECT_EQ(machine_memory(folder.path()).total, 4096000);
}

TEST_F(Machine, SaysNothingWhereTheKernelDoesNot) {
  MachineMemory memory = machine_memory(folder / "nothing");
  EXPECT_EQ(memory.total, 0);
  EXPECT_EQ(memory.available, 0);
  EXPECT_EQ(process_memory(folder / "nothing").resident, 0);
}

TEST_F(Machine, KnowsThisProcess) {
  put("proc/self/status", "Name:\tx\nVmHWM:\t  30 kB\nRssAnon:\t  10 kB\nRssFile:\t  20 kB\n");
  fs::create_directory_symlink("/usr/bin/prog ram", folder / "proc/self/exe");
  put("proc/self/smaps",
      "00-0f r-xp 00 08:01 1    /usr/bin/prog ram\nSize: 99 kB\nRss:   \t 5 kB\n"
      "10-1f r--p 00 08:01 2    /data/tokens-1\nRss: 1000 kB\n"
      "20-2f rw-p 00 00:00 0    [heap]\nRss: 300 kB\n"
      "30-3f r-xp 00 08:01 3    /usr/lib/libx.so.3\nRss: 9 kB\nPss: 3 kB\nAnonymous: 2 kB\n"
      "40-4f rw-p 00 00:00 0 \nRss: 500 kB\n");
  ProcessMemory memory = process_memory(folder.path());
  EXPECT_EQ(memory.program, 12 * 1024);
  EXPECT_EQ(memory.resident, 10 * 1024);
  EXPECT_EQ(memory.files, 20 * 1024);
  EXPECT_EQ(memory.peak, 30 * 1024);
  ProcessMemory real = process_memory();
  EXPECT_GT(real.resident, 0);
  EXPECT_GT(real.program, 0);
  EXPECT_LE(real.program, real.files + (1 << 20));
  EXPECT_GE(real.peak, real.resident);
}

TEST(MachineCounters, TouchedPagesAreFaults) {
  const size_t bytes = size_t{8} << 20;
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  ::madvise(memory, bytes, MADV_NOHUGEPAGE);
  PageFaults before = page_faults();
  for (size_t at = 0; at < bytes; at += 4096) static_cast<volatile char*>(memory)[at] = 1;
  PageFaults after = page_faults();
  EXPECT_GE(after.minor - before.minor, 2048);
  EXPECT_GE(after.major, before.major);
  ::munmap(memory, bytes);
}

TEST(MachineCounters, HeapCountsWhatIsHeld) {
  int64_t before = heap_bytes();
  if (before == 0) GTEST_SKIP() << "another allocator stands in for malloc";
  for (size_t bytes : {size_t{5000}, size_t{64} << 20}) {
    std::vector<char> held(bytes, 1);
    EXPECT_GE(heap_bytes() - before, static_cast<int64_t>(bytes));
    EXPECT_LT(heap_bytes() - before, static_cast<int64_t>(bytes) + 100'000);
  }
  EXPECT_LT(heap_bytes() - before, 100'000);
}

}  // namespace
}  // namespace tandem
