// Readers of foreign files under thousands of damaged ones.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <string>

#include "base/error.h"
#include "base/temporary_folder.h"

namespace tandem::test {

struct HostileCounts {
  int accepted = 0;
  int refused = 0;  // each with one line
};

// read(path): opens the file and looks at all of it, or throws InputError; anything else fails the test.
inline HostileCounts read_hostile_files(int count, const std::function<std::string(int)>& bytes_of,
                                        const std::function<void(const std::filesystem::path&)>& read) {
  TemporaryFolder folder;
  HostileCounts counts;
  for (int i = 0; i < count; ++i) {
    // A new file each time: to cut and rewrite one makes some file systems flush it.
    auto path = folder / std::to_string(i);
    put_file(path, bytes_of(i));
    try {
      read(path);
      ++counts.accepted;
    } catch (const InputError& e) {
      EXPECT_EQ(std::string_view(e.what()).find('\n'), std::string_view::npos) << e.what();
      ++counts.refused;
    }
    std::filesystem::remove(path);
  }
  return counts;
}

}  // namespace tandem::test
