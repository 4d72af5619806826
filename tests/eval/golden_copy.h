// A golden case for a test to spoil.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/temporary_folder.h"
#include "eval/golden_folders.h"
#include "eval/parity.h"
#include "formats/safetensors.h"

namespace tandem::test {

class GoldenCopy {
 public:
  explicit GoldenCopy(const std::string& name) {
    std::filesystem::copy(golden_folder(name), path_);
    for (const auto& file : std::filesystem::directory_iterator(path_)) {
      std::filesystem::permissions(file.path(), std::filesystem::perms::owner_all);
    }
  }
  const std::filesystem::path& path() const { return path_; }

  // What is said of it.
  std::string complaint() const {
    Context ctx(1);
    return message_of<InputError>([&] { check_forward(ctx, read_golden_case(path_), Precision::float32(), true); });
  }
  // change(entries) may change, add and remove tensors of a file.
  template <class F>
  void rewrite(const std::string& file, F change) const {
    std::vector<SafetensorsEntry> entries;
    {
      SafetensorsFile old = SafetensorsFile::open(path_ / file);
      for (const std::string& name : old.names()) entries.push_back({name, old.tensor(name)});
      change(entries);
      write_safetensors(path_ / "new", entries);
    }
    std::filesystem::rename(path_ / "new", path_ / file);
  }

 private:
  TemporaryFolder folder_;
  std::filesystem::path path_ = folder_ / "case";
};

}  // namespace tandem::test
