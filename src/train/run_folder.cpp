#include "train/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/toml.h"

namespace tandem {
namespace fs = std::filesystem;
namespace {

constexpr const char* kConfig = "config.toml";
constexpr const char* kFinished = "finished.json";
constexpr const char* kOrigin = "origin.json";

// A crash before config.toml was complete leaves nothing but its temporary file.
bool holds_something_else(const fs::path& folder) {
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (!entry.path().filename().string().starts_with("config.toml.part-")) return true;
  }
  return false;
}

// What processes that were killed had begun to write (FileWriter). Nobody else writes here: the folder is locked.
void remove_torn_files(const fs::path& folder) {
  std::error_code ignored;
  std::vector<fs::path> torn;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder, ignored)) {
    std::string name = entry.path().filename().string();
    size_t mark = name.rfind(".part-");
    if (mark == std::string::npos || !entry.is_regular_file(ignored)) continue;
    if (name.find_first_not_of("0123456789", mark + 6) == std::string::npos) torn.push_back(entry.path());
  }
  for (const fs::path& file : torn) fs::remove(file, ignored);
}

void check_same_run(const fs::path& file, const RunConfig& config) {
  RunConfig stored;
  FieldList fields;
  list_fields(fields, stored);
  apply_toml(fields, file);
  std::string key = first_difference(stored, config);
  if (key.empty()) return;
  RunConfig wanted = config;
  FieldList wanted_fields;
  list_fields(wanted_fields, wanted);
  throw InputError({.what = fmt::format("the output folder holds another run: '{}' differs", key),
                    .where = file.parent_path().string(),
                    .got = wanted_fields.get(key).dump(),
                    .expected = fields.get(key).dump() + " as the run began",
                    .hint = "choose another output folder"});
}

}  // namespace

void check_run_folder(const RunConfig& config) {
  fs::path path = config.output;
  if (fs::exists(path) && !fs::is_directory(path)) {
    throw InputError({.what = "output folder", .where = path.string(), .got = "a file", .expected = "a folder"});
  }
  if (fs::exists(path / kConfig)) {
    check_same_run(path / kConfig, config);
  } else if (fs::exists(path) && holds_something_else(path)) {
    throw InputError({.what = "output folder is not empty and holds no run",
                      .where = path.string(),
                      .expected = "a new or empty folder, or that of a run to go on with"});
  }
}

RunFolder::RunFolder(const RunConfig& config, bool writes) : path_(config.output) {
  if (!writes) return;
  check_run_folder(config);
  bool known = fs::exists(path_ / kConfig);
  create_folder(path_);
  lock();
  remove_torn_files(path_);
  fresh_ = !known;
  std::string text = to_toml(config);
  if (!known || read_file(path_ / kConfig) != text) write_file_atomically(path_ / kConfig, text);
}

RunFolder::~RunFolder() {
  if (lock_ >= 0) ::close(lock_);
}

void RunFolder::abandon() {
  if (!fresh_) return;
  std::error_code ignored;
  for (const char* name : {kConfig, kOrigin, "tokenizer.json", "tokenizer.model", "products.json", "data"}) {
    fs::remove_all(path_ / name, ignored);
  }
  fs::remove(path_, ignored);  // stays when something else is in it
}

// The lock is on the folder itself and ends with the process, however that ends. File systems without locks do without.
void RunFolder::lock() {
  lock_ = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (lock_ >= 0 && ::flock(lock_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    ::close(lock_);
    lock_ = -1;
    throw JobError({.what = "another process is training in this folder", .where = path_.string()});
  }
}

std::optional<Json> RunFolder::finished() const {
  if (!fs::exists(path_ / kFinished)) return std::nullopt;
  return read_json(path_ / kFinished);
}

void RunFolder::set_finished(const OrderedJson& result) const {
  write_file_atomically(path_ / kFinished, result.dump(2) + "\n");
}

void RunFolder::set_origin(const OrderedJson& origin) const {
  write_file_atomically(path_ / kOrigin, origin.dump(2) + "\n");
}

}  // namespace tandem
