#include "base/machine.h"

#include <malloc.h>
#include <sys/resource.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <sstream>
#include <system_error>
#include <utility>

namespace tandem {
namespace fs = std::filesystem;
namespace {

// The first line "key: value" or "key value" of a file; empty when there is none.
std::string value_of(const fs::path& file, std::string_view key) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with(key)) continue;
    std::string_view rest = std::string_view(line).substr(key.size());
    size_t begin = rest.find_first_not_of(" \t:");
    bool whole = rest.empty() || rest.find_first_of(" \t:") == 0;
    if (whole) return begin == std::string_view::npos ? "" : std::string(rest.substr(begin));
  }
  return "";
}

// "123 kB" in bytes; 0 for what is no number.
int64_t kilobytes(const std::string& text) {
  int64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value * 1024;
}

// A file that holds one number; 0 when it is not there or says "max".
int64_t number_in(const fs::path& file) {
  std::ifstream in(file);
  int64_t value = 0;
  return in >> value ? value : 0;
}

// The control group of this process: the path behind "0::" (version 2) or ":memory:" (version 1) in /proc/self/cgroup.
std::string group_path(const fs::path& root, std::string_view mark) {
  std::ifstream in(root / "proc/self/cgroup");
  for (std::string line; std::getline(in, line);) {
    size_t at = line.find(mark);
    if (at != std::string::npos) return line.substr(at + mark.size());
  }
  return "";
}

// The lowest limit from the process's own group up to the root of the hierarchy; 0: none.
int64_t lowest_limit(const fs::path& hierarchy, std::string group, const char* file) {
  int64_t lowest = 0;
  while (true) {
    int64_t limit = number_in(hierarchy / fs::path(group).relative_path() / file);
    if (limit > 0) lowest = lowest == 0 ? limit : std::min(lowest, limit);
    if (group.empty() || group == "/") return lowest;
    group = fs::path(group).parent_path().string();
  }
}

// Resident pages of files that are mapped as code, or beside it: libraries, and the program itself.
int64_t program_pages(const fs::path& smaps, const fs::path& program) {
  std::ifstream in(smaps);
  int64_t bytes = 0;
  bool counts = false;
  for (std::string line; std::getline(in, line);) {
    // "7f0c-7f0d r-xp 00000000 08:01 123   /usr/lib/libx.so.1" begins a mapping, "Rss:  4 kB" is one of its lines.
    size_t path = line.find('/');
    bool begins = line.find('-') < line.find(' ');
    if (begins)
      counts = path != std::string::npos &&
               (line.substr(path) == program.string() || line.find(".so", path) != std::string::npos);
    for (auto [key, sign] : {std::pair{"Rss:", 1}, std::pair{"Anonymous:", -1}}) {  // what was written to is no file's
      if (counts && line.starts_with(key)) bytes += sign * kilobytes(line.substr(line.find_first_of("0123456789")));
    }
  }
  return bytes;
}

}  // namespace

std::string processor_name() { return value_of("/proc/cpuinfo", "model name"); }

MachineMemory machine_memory(const fs::path& root) {
  fs::path meminfo = root / "proc/meminfo";
  MachineMemory memory{.total = kilobytes(value_of(meminfo, "MemTotal")),
                       .available = kilobytes(value_of(meminfo, "MemAvailable"))};
  for (int64_t limit :
       {lowest_limit(root / "sys/fs/cgroup", group_path(root, "0::"), "memory.max"),
        lowest_limit(root / "sys/fs/cgroup/memory", group_path(root, ":memory:"), "memory.limit_in_bytes")}) {
    // Version 1 writes a number near 2^63 for "no limit".
    if (limit > 0 && (memory.total == 0 || limit < memory.total)) memory.total = limit;
  }
  memory.available = std::min(memory.available, memory.total);
  return memory;
}

ProcessMemory process_memory(const fs::path& root) {
  fs::path status = root / "proc/self/status";
  std::error_code ignored;
  fs::path program = fs::read_symlink(root / "proc/self/exe", ignored);
  return {.resident = kilobytes(value_of(status, "RssAnon")),
          .files = kilobytes(value_of(status, "RssFile")),
          .program = program_pages(root / "proc/self/smaps", program),
          .peak = kilobytes(value_of(status, "VmHWM"))};
}

PageFaults page_faults() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return {.minor = usage.ru_minflt, .major = usage.ru_majflt};
}

int64_t heap_bytes() {
  struct mallinfo2 heap = ::mallinfo2();
  return static_cast<int64_t>(heap.uordblks + heap.hblkhd);
}

}  // namespace tandem
