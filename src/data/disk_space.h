// Whether what is going to be written fits on the disk, asked before anything is.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

namespace tandem {

// Free bytes on the file system on which `path` stands or will stand. JobError with the system's reason.
uint64_t free_disk_bytes(const std::filesystem::path& path);

// "1.5 GiB"; whole bytes below 1 KiB.
std::string format_bytes(uint64_t bytes);

struct DiskPlan {
  uint64_t other_bytes = 0;  // that the caller will write to the same disk (checkpoints, the model)
  std::function<uint64_t(const std::filesystem::path& path)> free = free_disk_bytes;
};

// InputError when `bytes` and the plan's other bytes together do not fit beside `folder`; `what` names what takes them.
void require_disk_space(const std::filesystem::path& folder, uint64_t bytes, const std::string& what,
                        const DiskPlan& plan);

}  // namespace tandem
