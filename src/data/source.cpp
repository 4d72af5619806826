#include "data/source.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "data/conversation.h"
#include "data/json_lines.h"

namespace tandem {
namespace fs = std::filesystem;

namespace {

constexpr int64_t kManyDocuments = 20;

[[noreturn]] void not_utf8(const Utf8Scan& scan, const SourceFile& file) {
  std::string place = fmt::format("{}, byte {}", file.path.string(), scan.valid_bytes());
  if (file.kind == SourceFile::Kind::kJsonLines) {
    place = fmt::format("{}:{}, byte {} of the {}", file.path.string(), scan.line(), scan.valid_bytes(),
                        file.compression == Compression::none ? "file" : "text");
  }
  throw InputError({.what = "text is not UTF-8",
                    .where = place,
                    .got = fmt::format("0x{:02x}", scan.bad_byte()),
                    .expected = "UTF-8"});
}

// What one pass over a file tells.
struct Scanned {
  SourceFile file;
  std::string first_record;  // the first line of JSONL that is not blank
  int64_t first_line = 0;
  uint64_t sample_bytes = 0;  // of the first records
  uint64_t sample_text = 0;   // of the strings in them that are read
};

// Bytes of the strings below the keys that are read.
uint64_t text_in(const Json& value) {
  if (value.is_string()) return value.get_ref<const std::string&>().size();
  uint64_t bytes = 0;
  if (value.is_array()) {
    for (const Json& element : value) bytes += text_in(element);
  }
  if (!value.is_object()) return bytes;
  for (const char* key : {"text", "prompt", "response", "messages", "content"}) {
    if (auto found = value.find(key); found != value.end()) bytes += text_in(*found);
  }
  return bytes;
}

void look_at_record(Scanned& scanned, std::string_view line, int64_t number) {
  constexpr int64_t kSampleRecords = 64;
  if (scanned.file.documents == 0) {
    scanned.first_record = line;
    scanned.first_line = number;
  }
  if (scanned.file.documents++ >= kSampleRecords) return;
  scanned.sample_bytes += line.size() + 1;
  try {
    Json record = parse_json(line, "the line");
    if (record.is_object()) scanned.sample_text += text_in(record);
  } catch (const InputError&) {
    // Refused, with its place, when it is read.
  }
}

Scanned scan(SourceFile file) {
  Scanned scanned{.file = std::move(file)};
  SourceFile& result = scanned.file;
  Utf8Scan utf8;
  Hash64 hash;
  LineReader lines([&](std::string_view line, int64_t number) {
    if (!blank_line(line)) look_at_record(scanned, line, number);
  });
  read_pieces(result.path, result.compression, [&](std::string_view piece) {
    if (!utf8.push(piece)) not_utf8(utf8, result);
    hash.add(piece);
    result.bytes += piece.size();
    if (result.kind == SourceFile::Kind::kJsonLines) lines.push(piece);
  });
  if (!utf8.finish()) not_utf8(utf8, result);
  lines.finish();
  result.hash = hash.value();
  if (result.kind == SourceFile::Kind::kText) result.documents = result.bytes > 0 ? 1 : 0;
  if (scanned.sample_bytes > 0) {
    result.text_share = static_cast<double>(scanned.sample_text) / static_cast<double>(scanned.sample_bytes);
  }
  return scanned;
}

const char* wanted_keys(Records records) { return records == Records::text ? "\"text\"" : kConversationKeys; }

bool first_record_fits(const Scanned& scanned, Records records) {
  if (scanned.first_record.empty()) return true;
  Json record = parse_record(scanned.first_record, scanned.first_line, scanned.file.path, wanted_keys(records));
  return records == Records::text ? record.contains("text") : is_conversation(record);
}

// By the extensions; nothing for a file that no folder is searched for.
std::optional<SourceFile> describe(const fs::path& path) {
  SourceFile file{.path = path, .compression = compression_of(path)};
  std::string extension =
      (file.compression == Compression::none ? path : fs::path(path).replace_extension()).extension().string();
  if (extension != ".txt" && extension != ".jsonl") return std::nullopt;
  file.kind = extension == ".txt" ? SourceFile::Kind::kText : SourceFile::Kind::kJsonLines;
  return file;
}

std::vector<fs::path> files_below(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::recursive_directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    if (at->is_regular_file()) found.push_back(at->path());
  }
  if (error) {
    throw InputError({.what = "cannot read folder", .where = folder.string(), .got = error.message()});
  }
  std::sort(found.begin(), found.end(), [](const fs::path& a, const fs::path& b) { return a.string() < b.string(); });
  return found;
}

void add_folder(const fs::path& folder, Records records, std::vector<SourceFile>& files) {
  std::vector<fs::path> found = files_below(folder);
  size_t before = files.size(), other = 0;
  for (const fs::path& path : found) {
    std::optional<SourceFile> file = describe(path);
    if (!file || (records == Records::conversations && file->kind == SourceFile::Kind::kText)) {
      ++other;
      continue;
    }
    Scanned scanned = scan(std::move(*file));
    if (scanned.file.kind == SourceFile::Kind::kJsonLines && !first_record_fits(scanned, records)) {
      log::info("{}: left out, its first record has no {}", path.string(), wanted_keys(records));
      continue;
    }
    files.push_back(std::move(scanned.file));
  }
  const char* kinds = records == Records::text ? ".txt or .jsonl" : ".jsonl";
  if (other > 0) log::info("{}: {} files that are not {} left out", folder.string(), other, kinds);
  if (files.size() == before) {
    throw InputError({.what = records == Records::text ? "folder without text" : "folder without conversations",
                      .where = folder.string(),
                      .got = fmt::format("{} other files", found.size()),
                      .expected = fmt::format("{} files with {}", kinds, wanted_keys(records))});
  }
}

void add_file(const fs::path& path, Records records, std::vector<SourceFile>& files) {
  // A file that was named is text whatever it is called (README.md, LICENSE, notes.gz); compressed files of other kinds
  // fail as not UTF-8.
  if (path.extension() == ".json") {
    throw InputError({.what = "text file of unknown kind",
                      .where = path.string(),
                      .got = "'.json'",
                      .expected = "a text file, .jsonl or a folder",
                      .hint = "one JSON object per line is .jsonl"});
  }
  SourceFile file = describe(path).value_or(
      SourceFile{.path = path, .kind = SourceFile::Kind::kText, .compression = compression_of(path)});
  if (records == Records::conversations && file.kind == SourceFile::Kind::kText) {
    throw InputError({.what = "text where conversations are wanted",
                      .where = path.string(),
                      .expected = fmt::format("a .jsonl file whose records have {}", kConversationKeys)});
  }
  files.push_back(scan(std::move(file)).file);
}

void check_unchanged(const SourceFile& file, uint64_t bytes) {
  if (bytes == file.bytes) return;
  throw InputError({.what = "file changed while it was read",
                    .where = file.path.string(),
                    .got = fmt::format("{} bytes", bytes),
                    .expected = fmt::format("{} bytes", file.bytes)});
}

// Every line of a JSONL file that is not blank.
void for_each_record(const SourceFile& file, Records records, const std::function<void(Json, std::string)>& visit) {
  uint64_t bytes = 0;
  LineReader lines([&](std::string_view line, int64_t number) {
    if (blank_line(line)) return;
    visit(parse_record(line, number, file.path, wanted_keys(records)), line_place(file.path, number));
  });
  read_pieces(file.path, file.compression, [&](std::string_view piece) {
    bytes += piece.size();
    lines.push(piece);
  });
  lines.finish();
  check_unchanged(file, bytes);
}

void visit_text(const SourceFile& file, const std::function<void(std::string_view)>& visit) {
  bool in_pieces = file.compression != Compression::none;  // else the one piece is a map of the file: no copy
  std::string whole;
  uint64_t bytes = 0;
  read_pieces(file.path, file.compression, [&](std::string_view piece) {
    bytes += piece.size();
    if (in_pieces) {
      whole += piece;
    } else {
      check_unchanged(file, bytes);
      visit(piece);
    }
  });
  check_unchanged(file, bytes);
  if (!whole.empty()) visit(whole);
}

}  // namespace

std::vector<SourceFile> list_sources(const std::vector<std::string>& paths, Records records) {
  std::vector<SourceFile> files;
  for (const std::string& name : paths) {
    std::error_code ignored;
    if (fs::is_directory(name, ignored)) {
      add_folder(name, records, files);
    } else {
      add_file(name, records, files);
    }
  }
  return files;
}

void for_each_document(const std::vector<SourceFile>& files, const std::function<void(std::string_view)>& visit) {
  for (const SourceFile& file : files) {
    if (file.kind == SourceFile::Kind::kText) {
      visit_text(file, visit);
      continue;
    }
    for_each_record(file, Records::text,
                    [&](const Json& record, const std::string& place) { visit(json_string(record, "text", place)); });
  }
}

void for_each_conversation(const std::vector<SourceFile>& files, const VisitConversation& visit) {
  for (const SourceFile& file : files) {
    for_each_record(file, Records::conversations, [&](const Json& record, const std::string& place) {
      visit(parse_conversation(record, place), place);
    });
  }
}

HoldoutRule make_holdout_rule(const std::vector<SourceFile>& files, double share) {
  int64_t documents = 0;
  for (const SourceFile& file : files) documents += file.documents;
  if (documents < kManyDocuments) return {.kind = HoldoutRule::Kind::kTails, .share = share};
  HoldoutChoice choice(share);
  for_each_document(files, [&](std::string_view text) { choice.add(hash64(text)); });
  return choice.rule();
}

}  // namespace tandem
