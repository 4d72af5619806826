#include "data/disk_space.h"

#include <fmt/format.h>

#include <array>
#include <system_error>

#include "base/error.h"

namespace tandem {
namespace fs = std::filesystem;

uint64_t free_disk_bytes(const fs::path& path) {
  std::error_code error;
  fs::path there = fs::absolute(path);
  while (!fs::exists(there, error) && there.has_relative_path()) there = there.parent_path();
  fs::space_info space = fs::space(there, error);
  if (error) {
    throw JobError({.what = "cannot ask for the free space", .where = there.string(), .got = error.message()});
  }
  return space.available;
}

std::string format_bytes(uint64_t bytes) {
  constexpr std::array<const char*, 6> kUnits{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1024) return fmt::format("{} bytes", bytes);
  auto value = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  for (; value >= 1024; ++unit) value /= 1024;
  return fmt::format("{:.1f} {}", value, kUnits[unit]);
}

void require_disk_space(const fs::path& folder, uint64_t bytes, const std::string& what, const DiskPlan& plan) {
  uint64_t needed = bytes + plan.other_bytes, free = plan.free(folder);
  if (needed <= free) return;
  std::string parts = fmt::format("{} for {}", format_bytes(bytes), what);
  if (plan.other_bytes > 0) parts += fmt::format(" and {} for checkpoints", format_bytes(plan.other_bytes));
  throw InputError({.what = "not enough space on the disk",
                    .where = folder.string(),
                    .got = format_bytes(free) + " free",
                    .expected = fmt::format("about {} ({})", format_bytes(needed), parts),
                    .hint = "make room, or name folders on another disk (output, data.cache)"});
}

}  // namespace tandem
