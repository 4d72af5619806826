#include "formats/zip_archive.h"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/little_endian.h"

static_assert(std::endian::native == std::endian::little, "zip archives are little-endian and read in place");

namespace tandem {
namespace fs = std::filesystem;
namespace {

constexpr uint32_t kLocalHeader = 0x04034b50, kDirectoryEntry = 0x02014b50, kEnd = 0x06054b50;
constexpr uint32_t kEnd64 = 0x06064b50, kEnd64Locator = 0x07064b50;
constexpr size_t kLocalBytes = 30, kDirectoryBytes = 46, kEndBytes = 22, kEnd64Bytes = 56, kLocatorBytes = 20;
constexpr uint32_t kIn64 = 0xFFFFFFFF;  // in a field of 32 bits: see the ZIP64 field
constexpr uint16_t kZip64Field = 1;
constexpr uint16_t kEncrypted = 1, kSizesFollow = 8, kUtf8 = 0x800;
// What deflate can reach: a match of 258 bytes takes at least two bits, and a block has a few bytes of its own.
constexpr uint64_t kBestRatio = 1032, kBlockBytes = 64;

// A reader of numbers at offsets that the caller has compared with the file's size.
struct Bytes {
  std::string_view text;

  template <class T>
  T at(uint64_t offset) const {
    T out;
    std::memcpy(&out, text.data() + offset, sizeof out);
    return out;
  }
  bool holds(uint64_t offset, uint64_t length) const { return offset <= text.size() && length <= text.size() - offset; }
};

struct Directory {
  uint64_t count = 0, begin = 0, size = 0;
};

[[noreturn]] void refuse(const std::string& file, std::string got, std::string expected, std::string hint = {}) {
  throw InputError({.what = "damaged zip archive",
                    .where = file,
                    .got = std::move(got),
                    .expected = std::move(expected),
                    .hint = std::move(hint)});
}

std::string entry_place(std::string_view name, const std::string& file) {
  return fmt::format("entry '{}' of {}", name, file);
}

// The end record may be followed by a comment, whose length it says, and by nothing else.
uint64_t find_end(const Bytes& bytes, const std::string& file) {
  size_t size = bytes.text.size();
  size_t longest_comment = std::numeric_limits<uint16_t>::max();
  for (size_t comment = 0; comment <= longest_comment && comment + kEndBytes <= size; ++comment) {
    size_t at = size - kEndBytes - comment;
    if (bytes.at<uint32_t>(at) == kEnd && bytes.at<uint16_t>(at + 20) == comment) return at;
  }
  refuse(file, "no directory at its end", "a whole archive", "was the file cut off?");
}

// The ZIP64 record, where there is one, has the numbers; those of the old record are the same or say that they are not.
Directory find_directory(const Bytes& bytes, const std::string& file) {
  uint64_t end = find_end(bytes, file);
  Directory out{bytes.at<uint16_t>(end + 10), bytes.at<uint32_t>(end + 16), bytes.at<uint32_t>(end + 12)};
  uint64_t limit = end;
  if (end >= kLocatorBytes && bytes.at<uint32_t>(end - kLocatorBytes) == kEnd64Locator) {
    uint64_t at = bytes.at<uint64_t>(end - kLocatorBytes + 8);
    if (!bytes.holds(at, kEnd64Bytes) || at + kEnd64Bytes > end - kLocatorBytes || bytes.at<uint32_t>(at) != kEnd64) {
      refuse(file, fmt::format("a ZIP64 record at {}", at), "one before the end of the directory");
    }
    Directory wide{bytes.at<uint64_t>(at + 32), bytes.at<uint64_t>(at + 48), bytes.at<uint64_t>(at + 40)};
    auto differs = [](uint64_t narrow, uint64_t unless, uint64_t wide_value) {
      return narrow != unless && narrow != wide_value;
    };
    if (differs(out.count, 0xFFFF, wide.count) || differs(out.begin, kIn64, wide.begin) ||
        differs(out.size, kIn64, wide.size)) {
      refuse(file, "two directories that disagree", "one");
    }
    out = wide;
    limit = at;
  }
  if (out.begin > limit || out.size > limit - out.begin || out.count > out.size / kDirectoryBytes) {
    refuse(file, fmt::format("a directory of {} entries, {} bytes at {}", out.count, out.size, out.begin),
           fmt::format("one that ends before byte {}", limit));
  }
  return out;
}

// The sizes of an entry that do not fit 32 bits, in the order of APPNOTE 4.5.3.
void read_zip64(const Bytes& extra, ZipEntry& entry, uint64_t& header, const std::string& where) {
  auto fail = [&] { refuse(where, "no sizes of 64 bits", "a ZIP64 field for them"); };
  uint64_t* wide[] = {&entry.size, &entry.packed, &header};
  bool missing = std::any_of(std::begin(wide), std::end(wide), [](uint64_t* w) { return *w == kIn64; });
  for (uint64_t at = 0; missing && extra.holds(at, 4);) {
    uint16_t id = extra.at<uint16_t>(at), length = extra.at<uint16_t>(at + 2);
    at += 4;
    if (!extra.holds(at, length)) fail();
    if (id == kZip64Field) {
      Bytes field{extra.text.substr(at, length)};
      uint64_t read = 0;
      for (uint64_t* w : wide) {
        if (*w != kIn64) continue;
        if (!field.holds(read, 8)) fail();
        *w = field.at<uint64_t>(read);
        read += 8;
      }
      return;
    }
    at += length;
  }
  if (missing) fail();
}

// One entry of the directory at `at`, which is moved behind it; `header` is where its local header begins.
ZipEntry parse_entry(const Bytes& bytes, uint64_t& at, uint64_t end, uint64_t& header, const std::string& file) {
  if (end - at < kDirectoryBytes || bytes.at<uint32_t>(at) != kDirectoryEntry) {
    refuse(file, fmt::format("no entry of the directory at {}", at), "as many as it says");
  }
  uint64_t name = bytes.at<uint16_t>(at + 28), extra = bytes.at<uint16_t>(at + 30),
           comment = bytes.at<uint16_t>(at + 32);
  if (name + extra + comment > end - at - kDirectoryBytes) {
    refuse(file, fmt::format("an entry that leaves the directory at {}", at), "whole entries");
  }
  ZipEntry entry{.name = bytes.text.substr(at + kDirectoryBytes, name),
                 .crc = bytes.at<uint32_t>(at + 16),
                 .packed = bytes.at<uint32_t>(at + 20),
                 .size = bytes.at<uint32_t>(at + 24)};
  std::string where = entry_place(entry.name, file);
  uint16_t flags = bytes.at<uint16_t>(at + 8), method = bytes.at<uint16_t>(at + 10);
  if (flags & kEncrypted) refuse(where, "an encrypted entry", "plain entries");
  if (method != 0 && method != 8) {
    refuse(where, fmt::format("packing method {}", method), "0 (stored) or 8 (deflated)");
  }
  entry.deflated = method == 8;
  header = bytes.at<uint32_t>(at + 42);
  read_zip64({bytes.text.substr(at + kDirectoryBytes + name, extra)}, entry, header, where);
  if (!entry.deflated && entry.packed != entry.size) {
    refuse(where, fmt::format("{} bytes stored as {}", entry.size, entry.packed), "equal sizes");
  }
  if (entry.deflated && entry.size / kBestRatio > entry.packed + kBlockBytes) {
    refuse(where, fmt::format("{} bytes packed into {}", entry.size, entry.packed), "a size that deflate can reach");
  }
  at += kDirectoryBytes + name + extra + comment;
  return entry;
}

// Compares the header before the entry's bytes with the directory and finds where they begin.
void locate(const Bytes& bytes, ZipEntry& entry, uint64_t header, uint64_t directory, const std::string& file) {
  std::string where = entry_place(entry.name, file);
  if (header > directory || directory - header < kLocalBytes || bytes.at<uint32_t>(header) != kLocalHeader) {
    refuse(where, fmt::format("no header at {}", header), "one before the directory");
  }
  uint64_t name = bytes.at<uint16_t>(header + 26), extra = bytes.at<uint16_t>(header + 28);
  entry.begin = header + kLocalBytes + name + extra;
  if (entry.begin > directory || entry.packed > directory - entry.begin) {
    refuse(where, fmt::format("{} bytes at {}", entry.packed, entry.begin),
           fmt::format("bytes before the directory at {}", directory));
  }
  uint16_t flags = bytes.at<uint16_t>(header + 6), method = bytes.at<uint16_t>(header + 8);
  auto differs = [&](uint64_t at, uint64_t size) {
    uint32_t narrow = bytes.at<uint32_t>(at);
    return !(flags & kSizesFollow) && narrow != kIn64 && narrow != size;
  };
  if (bytes.text.substr(header + kLocalBytes, name) != entry.name || (method == 8) != entry.deflated ||
      (flags & kEncrypted) || differs(header + 18, entry.packed) || differs(header + 22, entry.size)) {
    refuse(where, "a header that is not what the directory says", "the same name, sizes and packing");
  }
}

void check_overlaps(std::vector<std::pair<uint64_t, const ZipEntry*>> headers, const std::string& file) {
  std::sort(headers.begin(), headers.end());
  uint64_t end = 0;
  for (const auto& [header, entry] : headers) {
    if (header < end) {
      refuse(entry_place(entry->name, file), fmt::format("a header at {}", header),
             fmt::format("one behind byte {}: entries must not overlap", end));
    }
    end = entry->begin + entry->packed;
  }
}

uint32_t checksum(const std::byte* data, size_t size, uint32_t so_far = 0) {
  return static_cast<uint32_t>(crc32_z(so_far, reinterpret_cast<const Bytef*>(data), size));
}

void compare_checksum(const ZipEntry& entry, std::span<const std::byte> bytes, const std::string& file) {
  if (entry.crc == 0) return;  // torch.serialization.set_crc32_options(False)
  uint32_t found = checksum(bytes.data(), bytes.size());
  if (found == entry.crc) return;
  refuse(entry_place(entry.name, file), fmt::format("checksum {:08x}", found), fmt::format("{:08x}", entry.crc));
}

struct EndInflate {
  void operator()(z_stream* stream) const {
    inflateEnd(stream);
    delete stream;
  }
};

// Fills `out` from a raw deflate stream; whether it ended exactly there, all of `packed` used.
bool inflate_into(std::span<std::byte> out, std::span<const std::byte> packed) {
  auto owned = std::make_unique<z_stream>();
  if (inflateInit2(owned.get(), -MAX_WBITS) != Z_OK) throw std::bad_alloc();
  std::unique_ptr<z_stream, EndInflate> stream(owned.release());
  std::byte beyond{};  // room for one byte more than claimed, so that too many are seen
  size_t read = 0, made = 0;
  for (;;) {
    size_t most_in = std::min(packed.size() - read, size_t{std::numeric_limits<uInt>::max()});
    size_t most_out = std::min(out.size() - made, size_t{std::numeric_limits<uInt>::max()});
    bool full = most_out == 0;
    if (full) most_out = 1;
    stream->next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(packed.data() + read));
    stream->avail_in = static_cast<uInt>(most_in);
    stream->next_out = reinterpret_cast<Bytef*>(full ? &beyond : out.data() + made);
    stream->avail_out = static_cast<uInt>(most_out);
    int code = inflate(stream.get(), Z_NO_FLUSH);
    read += most_in - stream->avail_in;
    size_t now = most_out - stream->avail_out;
    if (full && now > 0) return false;
    made += now;
    if (code == Z_STREAM_END) return made == out.size() && read == packed.size();
    if (code == Z_MEM_ERROR) throw std::bad_alloc();
    if (code != Z_OK) return false;
  }
}

}  // namespace

ZipArchive ZipArchive::open(const fs::path& path) {
  ZipArchive out;
  out.map_ = MappedFile(path);
  std::string file = path.string();
  Bytes bytes{out.map_.text()};
  Directory directory = find_directory(bytes, file);
  std::vector<std::pair<ZipEntry, uint64_t>> found;
  uint64_t at = directory.begin, end = directory.begin + directory.size;
  for (uint64_t i = 0; i < directory.count; ++i) {
    uint64_t header = 0;
    ZipEntry entry = parse_entry(bytes, at, end, header, file);
    locate(bytes, entry, header, directory.begin, file);
    found.emplace_back(entry, header);
  }
  if (at != end) refuse(file, fmt::format("{} bytes behind the last entry of the directory", end - at), "none");
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.first.name < b.first.name; });
  for (const auto& [entry, header] : found) {
    if (!out.entries_.empty() && out.entries_.back().name == entry.name) {
      refuse(file, fmt::format("two entries '{}'", entry.name), "each name once");
    }
    out.entries_.push_back(entry);
  }
  std::vector<std::pair<uint64_t, const ZipEntry*>> headers;
  for (size_t i = 0; i < found.size(); ++i) headers.emplace_back(found[i].second, &out.entries_[i]);
  check_overlaps(std::move(headers), file);
  return out;
}

const ZipEntry* ZipArchive::find(std::string_view name) const {
  auto at = std::lower_bound(entries_.begin(), entries_.end(), name,
                             [](const ZipEntry& entry, std::string_view wanted) { return entry.name < wanted; });
  return at != entries_.end() && at->name == name ? &*at : nullptr;
}

std::span<const std::byte> ZipArchive::stored(const ZipEntry& entry) const {
  return map_.bytes().subspan(entry.begin, entry.packed);
}

void ZipArchive::check_stored(const ZipEntry& entry) const { compare_checksum(entry, stored(entry), path().string()); }

std::vector<std::byte> ZipArchive::read(const ZipEntry& entry) const {
  std::span<const std::byte> packed = stored(entry);
  std::vector<std::byte> out;
  if (entry.deflated) {
    out.resize(entry.size);
    if (!inflate_into(out, packed)) {
      refuse(entry_place(entry.name, path().string()), "damaged or other bytes",
             fmt::format("{} bytes, deflated", entry.size));
    }
  } else {
    out.assign(packed.begin(), packed.end());
  }
  compare_checksum(entry, out, path().string());
  return out;
}

namespace {

constexpr uint16_t kVersion = 45;                // ZIP64
constexpr uint16_t kNoTime = 0, kFirstDay = 33;  // 1980-01-01
// An extra field of zeros, for alignment; readers skip what they do not know.
constexpr uint16_t kPaddingField = 0x4246;

}  // namespace

ZipWriter::ZipWriter(const fs::path& path, uint32_t alignment) : writer_(path), alignment_(alignment) {}

void ZipWriter::end_entry() {
  if (left_ != 0) throw LogicError({.what = "an entry of a zip archive is shorter than announced"});
  if (written_.empty()) return;
  writer_.write_at(written_.back().header + 14, little_endian(written_.back().crc));
}

void ZipWriter::begin(const std::string& name, uint64_t size) {
  end_entry();
  left_ = size;
  uint64_t header = writer_.position();
  std::string sizes64 = size >= kIn64 ? little_endian(kZip64Field, uint16_t{16}, size, size) : std::string();
  uint64_t unpadded = header + kLocalBytes + name.size() + sizes64.size() + 4;
  uint64_t padding = (alignment_ - unpadded % alignment_) % alignment_;
  std::string extra =
      sizes64 + little_endian(kPaddingField, static_cast<uint16_t>(padding)) + std::string(padding, '\0');
  auto narrow = static_cast<uint32_t>(std::min<uint64_t>(size, kIn64));
  writer_.write(little_endian(kLocalHeader, kVersion, kUtf8, uint16_t{0}, kNoTime, kFirstDay, uint32_t{0}, narrow,
                              narrow, static_cast<uint16_t>(name.size()), static_cast<uint16_t>(extra.size())));
  writer_.write(name);
  writer_.write(extra);
  written_.push_back({.name = name, .size = size, .header = header});
}

void ZipWriter::write(const void* data, size_t bytes) {
  if (bytes > left_) throw LogicError({.what = "an entry of a zip archive is longer than announced"});
  left_ -= bytes;
  Written& entry = written_.back();
  entry.crc = checksum(static_cast<const std::byte*>(data), bytes, entry.crc);
  writer_.write(data, bytes);
}

void ZipWriter::finish() {
  end_entry();
  uint64_t begin = writer_.position();
  for (const Written& entry : written_) {
    bool wide = entry.size >= kIn64 || entry.header >= kIn64;
    std::string extra = wide ? little_endian(kZip64Field, uint16_t{24}, entry.size, entry.size, entry.header) : "";
    uint32_t size = wide ? kIn64 : static_cast<uint32_t>(entry.size);
    uint32_t header = wide ? kIn64 : static_cast<uint32_t>(entry.header);
    writer_.write(little_endian(kDirectoryEntry, kVersion, kVersion, kUtf8, uint16_t{0}, kNoTime, kFirstDay, entry.crc,
                                size, size, static_cast<uint16_t>(entry.name.size()),
                                static_cast<uint16_t>(extra.size()), uint16_t{0}, uint16_t{0}, uint16_t{0}, uint32_t{0},
                                header));
    writer_.write(entry.name);
    writer_.write(extra);
  }
  uint64_t end = writer_.position(), count = written_.size(), size = end - begin;
  writer_.write(little_endian(kEnd64, uint64_t{kEnd64Bytes - 12}, kVersion, kVersion, uint32_t{0}, uint32_t{0}, count,
                              count, size, begin));
  writer_.write(little_endian(kEnd64Locator, uint32_t{0}, end, uint32_t{1}));
  auto narrow_count = static_cast<uint16_t>(std::min<uint64_t>(count, 0xFFFF));
  writer_.write(little_endian(kEnd, uint16_t{0}, uint16_t{0}, narrow_count, narrow_count,
                              static_cast<uint32_t>(std::min<uint64_t>(size, kIn64)),
                              static_cast<uint32_t>(std::min<uint64_t>(begin, kIn64)), uint16_t{0}));
  writer_.finish();
}

}  // namespace tandem
