#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace tandem {
namespace fs = std::filesystem;

namespace {

int open_for_reading(const fs::path& path) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) {
    throw InputError({.what = "cannot read file", .where = path.string(), .got = "a folder", .expected = "a file"});
  }
  int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    throw InputError({.what = "cannot open file", .where = path.string(), .got = std::strerror(errno)});
  }
  return fd;
}

// Some file systems let a signal (the first Ctrl-C) interrupt it.
int flush(int fd) {
  int result;
  do {
    result = ::fsync(fd);
  } while (result != 0 && errno == EINTR);
  return result;
}

}  // namespace

std::string read_file(const fs::path& path) {
  int fd = open_for_reading(path);
  std::string bytes;
  struct stat info {};
  if (::fstat(fd, &info) == 0 && info.st_size > 0) bytes.reserve(static_cast<size_t>(info.st_size));
  char buffer[1 << 16];
  for (;;) {
    ssize_t n = ::read(fd, buffer, sizeof buffer);
    if (n == 0) break;
    if (n < 0) {
      if (errno == EINTR) continue;
      std::string reason = std::strerror(errno);
      ::close(fd);
      throw InputError({.what = "cannot read file", .where = path.string(), .got = reason});
    }
    bytes.append(buffer, static_cast<size_t>(n));
  }
  ::close(fd);
  return bytes;
}

void sync_path(const fs::path& path) {
  int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0 || flush(fd) != 0) {
    std::string reason = std::strerror(errno);
    if (fd >= 0) ::close(fd);
    throw JobError({.what = "cannot flush to disk", .where = path.string(), .got = reason});
  }
  ::close(fd);
}

void create_folder(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error || !fs::is_directory(path)) {
    throw JobError({.what = "cannot create folder",
                    .where = path.string(),
                    .got = error ? error.message() : "a file of that name"});
  }
}

void write_file_atomically(const fs::path& path, std::string_view bytes) {
  FileWriter writer(path);
  writer.write(bytes);
  writer.finish();
}

MappedFile::MappedFile(const fs::path& path) : path_(path) {
  int fd = open_for_reading(path);
  struct stat info {};
  if (::fstat(fd, &info) != 0) {
    std::string reason = std::strerror(errno);
    ::close(fd);
    throw InputError({.what = "cannot read file", .where = path.string(), .got = reason});
  }
  size_ = static_cast<size_t>(info.st_size);
  if (size_ > 0) {
    void* map = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED) {
      std::string reason = std::strerror(errno);
      ::close(fd);
      throw InputError({.what = "cannot map file", .where = path.string(), .got = reason});
    }
    data_ = static_cast<const std::byte*>(map);
  }
  ::close(fd);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_) ::munmap(const_cast<std::byte*>(data_), size_);
}

FileWriter::FileWriter(fs::path path) : path_(std::move(path)) {
  temporary_ = path_;
  temporary_ += fmt::format(".part-{}", ::getpid());
  fd_ = ::open(temporary_.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd_ < 0) fail("cannot create file");
}

FileWriter::~FileWriter() {
  if (fd_ >= 0) {
    ::close(fd_);
    ::unlink(temporary_.c_str());
  }
}

void FileWriter::fail(const char* action) const {
  throw JobError({.what = action, .where = path_.string(), .got = std::strerror(errno)});
}

void FileWriter::write(std::string_view bytes) { write(bytes.data(), bytes.size()); }

void FileWriter::write(const void* data, size_t bytes) {
  const char* p = static_cast<const char*>(data);
  while (bytes > 0) {
    ssize_t n = ::write(fd_, p, bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) fail("cannot write file");
    p += n;
    bytes -= static_cast<size_t>(n);
    position_ += static_cast<uint64_t>(n);
  }
}

void FileWriter::write_at(uint64_t offset, std::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t n = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) fail("cannot write file");
    bytes.remove_prefix(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
}

void FileWriter::finish() {
  if (flush(fd_) != 0) fail("cannot flush file");
  if (::close(std::exchange(fd_, -1)) != 0) fail("cannot close file");
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
    int reason = errno;
    ::unlink(temporary_.c_str());
    errno = reason;
    fail("cannot rename file");
  }
  fs::path folder = path_.parent_path();
  sync_path(folder.empty() ? fs::path(".") : folder);
}

}  // namespace tandem
