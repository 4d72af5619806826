#include "convert/destination.h"

#include <unistd.h>

#include "base/error.h"
#include "base/file.h"

namespace tandem {
namespace fs = std::filesystem;
namespace {

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
  check_free(path_, folder, overwrite);
  fs::path parent = path_.has_parent_path() ? path_.parent_path() : fs::path(".");
  create_folder(parent);
  // The ending of a file tells the writers its kind.
  aside_ = parent / fmt::format(".converting-{}-{}", ::getpid(), path_.filename().string());
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
    old = aside_;
    old += ".old";
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
