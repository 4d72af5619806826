// Files: whole reads, memory maps, and writes that are either complete or absent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace tandem {

// The whole file as bytes. InputError when it is missing, a directory or unreadable.
std::string read_file(const std::filesystem::path& path);

// Writes aside, fsyncs, renames over `path`, fsyncs the folder. Readers see the old file or the new one, never a
// part. JobError (disk full, no permission) leaves the old file as it was.
void write_file_atomically(const std::filesystem::path& path, std::string_view bytes);

// fsync of a file or a folder; JobError when the system refuses.
void sync_path(const std::filesystem::path& path);

// Creates a folder and its parents. JobError with the system's reason.
void create_folder(const std::filesystem::path& path);

// Read-only map of a whole file. An empty file maps to an empty span.
class MappedFile {
 public:
  MappedFile() = default;
  explicit MappedFile(const std::filesystem::path& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// A file written in pieces under a temporary name and renamed by finish(). Destroyed unfinished, it removes its
// temporary file.
class FileWriter {
 public:
  explicit FileWriter(std::filesystem::path path);
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;
  ~FileWriter();

  void write(std::string_view bytes);
  void write(const void* data, size_t bytes);
  uint64_t position() const { return position_; }
  // Overwrites bytes already written (headers whose content is known only at the end).
  void write_at(uint64_t offset, std::string_view bytes);
  void finish();

 private:
  void fail(const char* action) const;

  std::filesystem::path path_;
  std::filesystem::path temporary_;
  int fd_ = -1;
  uint64_t position_ = 0;
};

}  // namespace tandem
