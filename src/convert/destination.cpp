#include "convert/destination.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <string>
#include <string_view>
#include <vector>

#include "base/abandoned_files.h"
#include "base/error.h"
#include "base/file.h"

namespace tandem {
namespace fs = std::filesystem;
namespace {

// Names of what is not finished, and of the folder that a result replaces: MARK, the process, '-', the result's name.
constexpr std::string_view kMaking = ".converting-", kReplaced = ".replaced-";

std::string aside_name(std::string_view mark, const fs::path& path) {
  return fmt::format("{}{}-{}", mark, ::getpid(), path.filename().string());
}

struct Leftover {
  int32_t process = 0;  // 0: the name is none of ours
  std::string_view name;
};
Leftover leftover_of(std::string_view file, std::string_view mark) {
  Leftover out;
  if (!file.starts_with(mark)) return out;
  file.remove_prefix(mark.size());
  const char* end = file.data() + file.size();
  const char* behind = std::from_chars(file.data(), end, out.process).ptr;
  if (behind == end || *behind != '-') return {};
  out.name = file.substr(static_cast<size_t>(behind + 1 - file.data()));
  return out;
}

// What conversions that were killed have left in the folder. A model that was to be replaced goes back to its place
// where nothing stands in it yet.
void tidy(const fs::path& folder) {
  std::error_code ignored;
  std::vector<std::pair<fs::path, fs::path>> returning;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    std::string file = entry.path().filename().string();
    Leftover old = leftover_of(file, kReplaced);
    if (!process_is_gone(old.process) || old.name.empty()) continue;
    fs::path place = folder / old.name;
    if (!fs::exists(fs::symlink_status(place, ignored))) returning.emplace_back(entry.path(), place);
  }
  for (const auto& [from, to] : returning) fs::rename(from, to, ignored);
  remove_abandoned_files(folder, [](const std::string& file) {
    return std::max(leftover_of(file, kMaking).process, leftover_of(file, kReplaced).process);
  });
}

void check_free(const fs::path& path, bool folder, bool overwrite) {
  if (!fs::exists(fs::symlink_status(path))) return;
  const bool is_folder = fs::is_directory(path);
  if (folder && is_folder && fs::is_empty(path)) return;
  const bool model = is_folder && fs::exists(path / "config.json");
  const bool may = is_folder == folder && (folder ? model : fs::is_regular_file(path));
  if (may && overwrite) return;
  throw InputError({.what = "the destination is taken",
                    .where = path.string(),
                    .got = is_folder ? (model ? "a model folder" : "a folder that is not empty") : "a file",
                    .expected = "a name that is not taken",
                    .hint = may ? "--overwrite replaces it" : ""});
}

[[noreturn]] void refused(const fs::path& path, const std::error_code& error) {
  throw JobError({.what = "cannot put the result into its place", .where = path.string(), .got = error.message()});
}

}  // namespace

Destination::Destination(fs::path path, bool folder, bool overwrite) : path_(std::move(path)), folder_(folder) {
  if (!path_.has_filename()) path_ = path_.parent_path();  // "folder/"
  fs::path parent = path_.has_parent_path() ? path_.parent_path() : fs::path(".");
  tidy(parent);
  check_free(path_, folder, overwrite);
  create_folder(parent);
  // The ending of a file tells the writers its kind.
  aside_ = parent / aside_name(kMaking, path_);
  if (folder_) create_folder(aside_);
}

Destination::~Destination() {
  std::error_code ignored;
  fs::remove_all(aside_, ignored);
}

void Destination::finish() {
  std::error_code error;
  fs::path old;
  if (folder_ && fs::exists(path_)) {  // folders cannot be renamed over what is there
    old = aside_.parent_path() / aside_name(kReplaced, path_);
    fs::rename(path_, old, error);
    if (error) refused(path_, error);
  }
  fs::rename(aside_, path_, error);
  if (error) {
    std::error_code ignored;
    if (!old.empty()) fs::rename(old, path_, ignored);
    refused(path_, error);
  }
  sync_path(path_.has_parent_path() ? path_.parent_path() : fs::path("."));
  if (!old.empty()) fs::remove_all(old, error);
}

}  // namespace tandem
