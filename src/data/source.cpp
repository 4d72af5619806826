#include "data/source.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "data/hash.h"
#include "text/unicode.h"

namespace tandem {
namespace fs = std::filesystem;

namespace {

constexpr int64_t kManyDocuments = 20;
constexpr int kHeldOutOneIn = 20;
constexpr uint64_t kHeldOutBelow = std::numeric_limits<uint64_t>::max() / kHeldOutOneIn;

void check_utf8(std::string_view text, const SourceFile& file) {
  size_t valid = valid_utf8_prefix(text);
  if (valid == text.size()) return;
  std::string place = fmt::format("{}, byte {}", file.path.string(), valid);
  if (file.kind == SourceFile::Kind::kJsonLines) {
    auto line = 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(valid), '\n');
    place = fmt::format("{}:{}, byte {} of the file", file.path.string(), line, valid);
  }
  throw InputError({.what = "text is not UTF-8",
                    .where = place,
                    .got = fmt::format("0x{:02x}", static_cast<unsigned char>(text[valid])),
                    .expected = "UTF-8"});
}

bool blank(std::string_view line) { return line.find_first_not_of(" \t\r") == std::string_view::npos; }

// Calls visit(line, number) for every line that is not blank; `visit` returns false to stop.
template <class Visit>
void for_each_line(std::string_view text, Visit visit) {
  int64_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    size_t end = std::min(text.find('\n', begin), text.size());
    ++number;
    std::string_view line = text.substr(begin, end - begin);
    begin = end + 1;
    if (!blank(line) && !visit(line, number)) return;
  }
}

Json parse_record(std::string_view line, int64_t number, const fs::path& path) {
  std::string where = fmt::format("{}:{}", path.string(), number);
  Json record;
  try {
    record = parse_json(line, "the line");
  } catch (const InputError& error) {
    throw InputError({.what = "bad JSONL record", .where = where, .hint = error.what()});
  }
  if (!record.is_object()) {
    throw InputError({.what = "bad JSONL record", .where = where, .expected = "a JSON object with \"text\""});
  }
  return record;
}

bool first_record_has_text(std::string_view text, const fs::path& path) {
  bool found = false;
  for_each_line(text, [&](std::string_view line, int64_t number) {
    found = parse_record(line, number, path).contains("text");
    return false;
  });
  return found;
}

std::optional<SourceFile::Kind> kind_of(const fs::path& path) {
  std::string extension = path.extension().string();
  if (extension == ".txt") return SourceFile::Kind::kText;
  if (extension == ".jsonl") return SourceFile::Kind::kJsonLines;
  return std::nullopt;
}

// False for a table without text that a folder happens to hold.
bool add_file(const fs::path& path, SourceFile::Kind kind, bool from_folder, std::vector<SourceFile>& files) {
  MappedFile map(path);
  SourceFile file{.path = path, .kind = kind};
  check_utf8(map.text(), file);
  file.bytes = map.text().size();
  file.hash = hash64(map.text());
  if (kind == SourceFile::Kind::kText) {
    file.documents = map.text().empty() ? 0 : 1;
  } else {
    if (from_folder && !blank(map.text()) && !first_record_has_text(map.text(), path)) return false;
    for_each_line(map.text(), [&](std::string_view, int64_t) { return ++file.documents > 0; });
  }
  files.push_back(std::move(file));
  return true;
}

void add_folder(const fs::path& folder, std::vector<SourceFile>& files) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::recursive_directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    if (at->is_regular_file()) found.push_back(at->path());
  }
  if (error) {
    throw InputError({.what = "cannot read folder", .where = folder.string(), .got = error.message()});
  }
  std::sort(found.begin(), found.end(), [](const fs::path& a, const fs::path& b) { return a.string() < b.string(); });
  size_t before = files.size(), other = 0;
  for (const fs::path& path : found) {
    auto kind = kind_of(path);
    if (!kind) {
      ++other;
    } else if (!add_file(path, *kind, true, files)) {
      log::info("{}: left out, its records have no \"text\"", path.string());
    }
  }
  if (other > 0) log::info("{}: {} files that are neither .txt nor .jsonl left out", folder.string(), other);
  if (files.size() == before) {
    throw InputError({.what = "folder without text",
                      .where = folder.string(),
                      .got = fmt::format("{} other files", found.size()),
                      .expected = ".txt or .jsonl files"});
  }
}

// End of the part of `text` that is trained on.
size_t tail_cut(std::string_view text) {
  size_t mark = text.size() - text.size() / kHeldOutOneIn, lowest = mark - text.size() / kHeldOutOneIn;
  if (mark == text.size()) return mark;
  std::string_view before = text.substr(0, mark);
  for (std::string_view boundary : {"\n\n", "\n", " "}) {
    size_t found = before.rfind(boundary);
    if (found != std::string_view::npos && found + boundary.size() > lowest) return found + boundary.size();
  }
  while (mark > 0 && (static_cast<unsigned char>(text[mark]) & 0xC0) == 0x80) --mark;
  return mark;
}

}  // namespace

std::vector<SourceFile> list_sources(const std::vector<std::string>& paths) {
  std::vector<SourceFile> files;
  for (const std::string& name : paths) {
    fs::path path = name;
    std::error_code ignored;
    if (fs::is_directory(path, ignored)) {
      add_folder(path, files);
      continue;
    }
    auto kind = kind_of(path);
    // A file that was named is text whatever it is called (README.md, LICENSE); compressed files fail as not UTF-8.
    if (path.extension() == ".json") {
      throw InputError({.what = "text file of unknown kind",
                        .where = name,
                        .got = "'.json'",
                        .expected = "a text file, .jsonl or a folder",
                        .hint = "one JSON object per line is .jsonl"});
    }
    add_file(path, kind.value_or(SourceFile::Kind::kText), false, files);
  }
  return files;
}

void for_each_document(const std::vector<SourceFile>& files, const std::function<void(std::string_view)>& visit) {
  for (const SourceFile& file : files) {
    MappedFile map(file.path);
    if (map.text().size() != file.bytes) {
      throw InputError({.what = "file changed while it was read",
                        .where = file.path.string(),
                        .got = fmt::format("{} bytes", map.text().size()),
                        .expected = fmt::format("{} bytes", file.bytes)});
    }
    if (file.kind == SourceFile::Kind::kText) {
      if (!map.text().empty()) visit(map.text());
      continue;
    }
    for_each_line(map.text(), [&](std::string_view line, int64_t number) {
      Json record = parse_record(line, number, file.path);
      visit(json_string(record, "text", fmt::format("{}:{}", file.path.string(), number)));
      return true;
    });
  }
}

HoldoutRule make_holdout_rule(const std::vector<SourceFile>& files) {
  int64_t documents = 0;
  for (const SourceFile& file : files) documents += file.documents;
  if (documents < kManyDocuments) return {.kind = HoldoutRule::Kind::kTails};
  uint64_t smallest = std::numeric_limits<uint64_t>::max(), largest = 0;
  for_each_document(files, [&](std::string_view text) {
    uint64_t hash = hash64(text);
    smallest = std::min(smallest, hash);
    largest = std::max(largest, hash);
  });
  bool none = smallest >= kHeldOutBelow, all = largest < kHeldOutBelow;
  return {.kind = HoldoutRule::Kind::kDocuments, .below = none || all ? smallest + 1 : kHeldOutBelow};
}

SplitDocument split_document(std::string_view text, const HoldoutRule& rule) {
  switch (rule.kind) {
    case HoldoutRule::Kind::kNothing: return {.training = text, .heldout = {}};
    case HoldoutRule::Kind::kDocuments:
      if (hash64(text) < rule.below) return {.training = {}, .heldout = text};
      return {.training = text, .heldout = {}};
    case HoldoutRule::Kind::kTails: break;
  }
  size_t cut = tail_cut(text);
  return {.training = text.substr(0, cut), .heldout = text.substr(cut)};
}

}  // namespace tandem
