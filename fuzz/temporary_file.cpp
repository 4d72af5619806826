#include "temporary_file.h"

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>

namespace tandem::fuzz {
namespace fs = std::filesystem;

TemporaryFile::TemporaryFile(const std::string& name) {
  // In memory where there is such a place: millions of files are written.
  fs::path parent = fs::exists("/dev/shm") ? fs::path("/dev/shm") : fs::temp_directory_path();
  folder_ = (parent / "tandem-fuzz-XXXXXX").string();
  if (mkdtemp(folder_.data()) == nullptr) throw std::runtime_error("cannot create " + folder_);
  path_ = (fs::path(folder_) / name).string();
}

TemporaryFile::~TemporaryFile() {
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

void TemporaryFile::write(std::string_view bytes) const {
  std::FILE* file = std::fopen(path_.c_str(), "wb");
  if (file == nullptr) throw std::runtime_error("cannot write " + path_);
  size_t written = std::fwrite(bytes.data(), 1, bytes.size(), file);
  if (std::fclose(file) != 0 || written != bytes.size()) throw std::runtime_error("cannot write " + path_);
}

}  // namespace tandem::fuzz
