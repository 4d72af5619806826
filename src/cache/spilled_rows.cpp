#include "cache/spilled_rows.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <random>

#include "base/abandoned_files.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/sealed.h"

namespace tandem {
namespace fs = std::filesystem;

namespace {

constexpr std::string_view kPrefix = "spilled-";

Seal seal_of(const std::string& owner) { return {"TDMSPILL", 1, owner}; }

// Of "spilled-PID-OWNER-NUMBER" the PID; 0 for other names.
int32_t writer_of(const std::string& name) {
  if (!name.starts_with(kPrefix)) return 0;
  int32_t pid = 0;
  std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), pid);
  return pid;
}

// All of it or an exception. Not flushed: a crash of the system takes the sequence with it anyway.
void write_whole(const fs::path& path, std::string_view bytes) {
  std::ofstream out(path, std::ios::binary);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  out.close();
  if (!out) throw JobError({.what = "cannot write file", .where = path.string(), .got = std::strerror(errno)});
}

std::string unique_owner() {
  std::random_device random;
  Hash64 hash;
  for (int i = 0; i < 4; ++i) hash.add_number(random());
  return hex64(hash.value());
}

}  // namespace

SpillFolder::SpillFolder(fs::path folder) : folder_(std::move(folder)), owner_(unique_owner()) {
  create_folder(folder_);
  remove_abandoned_files(folder_, writer_of);
}

fs::path SpillFolder::next_file() { return folder_ / fmt::format("{}{}-{}-{}", kPrefix, ::getpid(), owner_, files_++); }

class SpilledRows::File {
 public:
  explicit File(fs::path path) : path_(std::move(path)) {}
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() {
    std::error_code ignored;
    fs::remove(path_, ignored);
  }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

bool SpilledRows::write(const PagedRows& rows) {
  if (!folder_ || rows.length() <= length() || rows.pool().row_bytes() == 0) return true;
  const int64_t begin = length();
  std::string bytes(kSealBytes, '\0');
  rows.copy_out(begin, bytes);
  seal(bytes, seal_of(folder_->owner_));
  auto file = std::make_shared<const File>(folder_->next_file());
  try {
    write_whole(file->path(), bytes);
  } catch (const JobError& e) {
    if (!folder_->failing_) log::warn("states are not spilled, and computed anew when they are needed: {}", e.what());
    folder_->failing_ = true;
    return false;
  }
  folder_->failing_ = false;
  folder_->bytes_written_ += static_cast<int64_t>(bytes.size());
  parts_.push_back({std::move(file), begin, rows.length()});
  return true;
}

void SpilledRows::read(PagedRows& rows) {
  for (size_t i = 0; i < parts_.size(); ++i) {
    const Part& part = parts_[i];
    if (part.end <= rows.length()) continue;
    try {
      MappedFile file(part.file->path());
      std::string_view bytes = unseal(file.text(), seal_of(folder_->owner_), part.file->path().string());
      // The file may go on where the sequence was cut.
      auto row = static_cast<uint64_t>(rows.pool().row_bytes());
      auto written = static_cast<int64_t>(bytes.size() / row);
      int64_t skipped = rows.length() - part.begin;
      bool whole = bytes.size() % row == 0 && written >= part.end - part.begin;
      if (!whole || !rows.copy_in(part.end - rows.length(), bytes.data(), skipped, written)) {
        throw InputError({.what = "spilled rows that do not fit", .where = part.file->path().string()});
      }
      folder_->bytes_read_ += static_cast<int64_t>(bytes.size());
    } catch (const InputError& e) {
      log::warn("a spilled state is computed anew: {}", e.what());
      trim(part.begin);
      return;
    }
  }
}

void SpilledRows::trim(int64_t length) {
  while (!parts_.empty() && parts_.back().begin >= length) parts_.pop_back();
  if (!parts_.empty()) parts_.back().end = std::min(parts_.back().end, length);
}

}  // namespace tandem
