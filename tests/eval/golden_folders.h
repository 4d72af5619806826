// Where golden cases are found: the small ones in tests/golden, all of them in ../shared/golden where that is there.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace tandem::test {

inline std::filesystem::path golden_folder(const std::string& name) {
  std::filesystem::path source(TANDEM_SOURCE_DIR);
  std::filesystem::path own = source / "tests" / "golden" / name;
  return std::filesystem::exists(own / "config.json") ? own : source / ".." / "shared" / "golden" / name;
}

inline bool have_golden(const std::string& name) {
  return std::filesystem::exists(golden_folder(name) / "config.json");
}

}  // namespace tandem::test
