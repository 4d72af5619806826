#include "train/run_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/file.h"

namespace tandem {
namespace fs = std::filesystem;
namespace {

// The lines up to and including those of `last_step`.
std::string kept_lines(std::string_view text, int64_t last_step) {
  std::string kept;
  while (!text.empty()) {
    size_t end = text.find('\n');
    if (end == std::string_view::npos) break;
    std::string_view line = text.substr(0, end + 1);
    text.remove_prefix(end + 1);
    Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    bool whole = json.is_object() && json.contains("step") && json["step"].is_number_integer();
    if (!whole || json["step"].get<int64_t>() > last_step) break;
    kept += line;
  }
  return kept;
}

}  // namespace

RunLog::RunLog(const fs::path& path, int64_t last_step) : path_(path) {
  if (fs::exists(path)) {
    std::string text = read_file(path);
    std::string kept = kept_lines(text, last_step);
    if (kept.size() != text.size()) write_file_atomically(path, kept);
  }
  fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd_ < 0) {
    throw JobError({.what = "cannot open the log", .where = path.string(), .got = std::strerror(errno)});
  }
}

RunLog::~RunLog() {
  if (fd_ >= 0) ::close(fd_);
}

void RunLog::write(const OrderedJson& line) {
  std::string text = line.dump() + "\n";
  size_t done = 0;
  while (done < text.size()) {
    ssize_t n = ::write(fd_, text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      throw JobError({.what = "cannot write the log", .where = path_.string(), .got = std::strerror(errno)});
    }
    done += static_cast<size_t>(n);
  }
}

void RunLog::sync() { sync_path(path_); }

}  // namespace tandem
