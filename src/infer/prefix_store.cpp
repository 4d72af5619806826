#include "infer/prefix_store.h"

#include <algorithm>
#include <charconv>
#include <cstring>

#include "base/abandoned_files.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/sealed.h"

namespace tandem {
namespace fs = std::filesystem;

namespace {

constexpr std::string_view kExtension = ".prefix";
// Reading a token costs more than loading the state of so many.
constexpr int64_t kTokensLoadedPerTokenRead = 32;

Seal seal_of(const std::string& model) { return {"TDMPREFX", 1, model}; }

// Behind the seal: the number of ids, the ids, the state.
struct Content {
  std::vector<int32_t> ids;
  std::string_view state;
};

Content parse(std::string_view sealed, const std::string& where) {
  uint64_t count = 0;
  if (sealed.size() >= sizeof count) std::memcpy(&count, sealed.data(), sizeof count);
  if (count == 0 || count > (sealed.size() - sizeof count) / sizeof(int32_t)) {
    throw InputError({.what = "prefix without its tokens", .where = where, .got = fmt::format("{} tokens", count)});
  }
  Content content;
  content.ids.resize(count);
  std::memcpy(content.ids.data(), sealed.data() + sizeof count, count * sizeof(int32_t));
  content.state = sealed.substr(sizeof count + count * sizeof(int32_t));
  return content;
}

// Of NUMBER-HASH.prefix; 0 for other names.
int64_t number_of(const fs::path& file) {
  if (file.extension() != kExtension) return 0;
  std::string name = file.filename().string();
  int64_t number = 0;
  std::from_chars(name.data(), name.data() + name.size(), number);
  return number;
}

int64_t common(std::span<const int32_t> a, std::span<const int32_t> b) {
  return std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin();
}

}  // namespace

PrefixStore::PrefixStore(const Model& model, fs::path folder, int64_t most_bytes)
    : format_(model), folder_(std::move(folder)), most_bytes_(most_bytes) {
  create_folder(folder_);
  remove_abandoned_parts(folder_);
  look_around();
}

void PrefixStore::look_around() {
  int64_t damaged = 0;
  std::error_code ignored;
  for (const auto& found : fs::directory_iterator(folder_, ignored)) {
    Entry entry{.number = number_of(found.path()), .file = found.path()};
    if (entry.number <= 0) continue;
    try {
      MappedFile file(entry.file);
      if (owner_of(file.text(), seal_of(""), entry.file.string()) != format_.fingerprint()) {
        log::warn("{} holds prefixes of another model or precision: it is left alone", folder_.string());
        ours_ = false;
        entries_.clear();
        return;
      }
      // Whether all of it is whole is looked at when it is loaded.
      entry.ids = parse(file.text().substr(kSealBytes), entry.file.string()).ids;
      entry.bytes = static_cast<int64_t>(file.bytes().size());
    } catch (const InputError&) {
      ++damaged;
      continue;
    }
    next_number_ = std::max(next_number_, entry.number + 1);
    entries_.push_back(std::move(entry));
  }
  if (damaged > 0) log::warn("{}: {} damaged files of prefixes are not used", folder_.string(), damaged);
  std::sort(entries_.begin(), entries_.end(), [](const Entry& a, const Entry& b) { return a.number < b.number; });
}

int64_t PrefixStore::bytes() const {
  int64_t bytes = 0;
  for (const Entry& entry : entries_) bytes += entry.bytes;
  return bytes;
}

const PrefixStore::Entry* PrefixStore::find(std::span<const int32_t> ids, int64_t known) const {
  const Entry* best = nullptr;
  int64_t most = known;
  for (const Entry& entry : entries_) {
    int64_t tokens = common(entry.ids, ids), loaded = static_cast<int64_t>(entry.ids.size());
    if (tokens <= most || kTokensLoadedPerTokenRead * (tokens - known) < loaded) continue;
    best = &entry;
    most = tokens;
  }
  return best;
}

std::unique_ptr<State> PrefixStore::load(const Entry& entry, Caches& caches, const std::function<bool()>& make_room) {
  auto place = static_cast<size_t>(&entry - entries_.data());
  const std::string where = entry.file.string();
  try {
    MappedFile file(entry.file);
    Content content = parse(unseal(file.text(), seal_of(format_.fingerprint()), where), where);
    std::unique_ptr<State> state = format_.get(caches, content.state, where);
    while (!state && make_room()) state = format_.get(caches, content.state, where);
    if (!state) return nullptr;
    if (content.ids != entry.ids || state->length() != static_cast<int64_t>(entry.ids.size()) || state->written() > 0) {
      throw InputError({.what = "prefix with another state", .where = where});
    }
    std::error_code ignored;
    Entry used = entry;
    used.number = next_number_++;
    used.file = file_of(used.ids, used.number);
    fs::rename(entry.file, used.file, ignored);
    if (ignored) used.file = entry.file;
    entries_.erase(entries_.begin() + static_cast<std::ptrdiff_t>(place));
    entries_.push_back(std::move(used));
    return state;
  } catch (const InputError& e) {
    log::warn("a prefix is read anew: {}", e.what());
    forget(place);
    return nullptr;
  }
}

void PrefixStore::forget(size_t entry) {
  std::error_code ignored;
  fs::remove(entries_[entry].file, ignored);
  entries_.erase(entries_.begin() + static_cast<std::ptrdiff_t>(entry));
}

fs::path PrefixStore::file_of(std::span<const int32_t> ids, int64_t number) const {
  Hash64 hash;
  hash.add(ids.data(), ids.size_bytes());
  return folder_ / fmt::format("{:012}-{}{}", number, hex64(hash.value()), kExtension);
}

int64_t PrefixStore::write(std::span<const int32_t> ids, State& state, int64_t number) {
  std::string bytes(kSealBytes, '\0');
  uint64_t count = ids.size();
  bytes.append(reinterpret_cast<const char*>(&count), sizeof count);
  bytes.append(reinterpret_cast<const char*>(ids.data()), ids.size_bytes());
  format_.put(state, bytes);
  auto size = static_cast<int64_t>(bytes.size());
  if (size > most_bytes_) return 0;
  seal(bytes, seal_of(format_.fingerprint()));
  fs::path file = file_of(ids, number);
  write_file_atomically(file, bytes);
  entries_.push_back({number, {ids.begin(), ids.end()}, size, std::move(file)});
  return size;
}

void PrefixStore::forget_covered(std::span<const int32_t> ids, const State& state) {
  for (size_t i = entries_.size(); i-- > 0;) {
    const std::vector<int32_t>& shorter = entries_[i].ids;
    auto length = static_cast<int64_t>(shorter.size());
    if (shorter.size() >= ids.size() || common(shorter, ids) < length) continue;
    if (state.fork()->keep_read(length)) forget(i);
  }
}

void PrefixStore::save(const PrefixTree& tree) {
  if (!ours_) return;
  int64_t number = next_number_ + tree.states(), written = 0;
  next_number_ = number + 1;
  try {
    tree.each_latest_first([&](std::span<const int32_t> ids, State& state) {
      bool known = std::any_of(entries_.begin(), entries_.end(),
                               [&](const Entry& entry) { return std::ranges::equal(entry.ids, ids); });
      if (!known) {
        written += write(ids, state, number);
        forget_covered(ids, state);
      }
      --number;
      return written < most_bytes_;
    });
  } catch (const JobError& e) {
    log::warn("prefixes are not all saved: {}", e.what());
  }
  std::sort(entries_.begin(), entries_.end(), [](const Entry& a, const Entry& b) { return a.number < b.number; });
  keep_to_limit();
}

void PrefixStore::keep_to_limit() {
  int64_t held = bytes();
  while (held > most_bytes_ && !entries_.empty()) {
    held -= entries_.front().bytes;
    forget(0);
  }
}

}  // namespace tandem
