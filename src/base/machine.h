// What the machine is and has.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace tandem {

// As /proc/cpuinfo names it; empty when it does not.
std::string processor_name();

struct MachineMemory {
  int64_t total = 0;      // bytes that this process may come to use: the machine's, or less by a control group's limit
  int64_t available = 0;  // of them free now, or to be freed at once
};

// `root`: where proc and sys are found, for tests. Zeros when the system does not say.
MachineMemory machine_memory(const std::filesystem::path& root = "/");

struct ProcessMemory {
  int64_t resident = 0;  // bytes in memory now: the process's own, without pages of files
  int64_t files = 0;     // mapped pages of files, which the system may drop
  int64_t program = 0;   // of `files`: the program and its libraries
  int64_t peak = 0;      // most bytes ever resident, pages of files included
};

ProcessMemory process_memory(const std::filesystem::path& root = "/");

// Of this process so far: pages that were mapped at their first use, and those that were read from a disk for it.
struct PageFaults {
  int64_t minor = 0;
  int64_t major = 0;
};

PageFaults page_faults();

// Bytes that malloc has given out and not got back, in all threads.
int64_t heap_bytes();

}  // namespace tandem
