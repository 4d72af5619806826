// Zip archives (PKWARE's APPNOTE.TXT 6.3; entries stored or deflated, ZIP64), read where they lie and written with
// aligned entries. libzip and minizip would read them too, but neither hands out the bytes of a stored entry where they
// lie (checkpoints of gigabytes are mapped, not copied), refuses entries that overlap, or aligns what it writes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"

namespace tandem {

struct ZipEntry {
  std::string_view name;  // into the map
  bool deflated = false;
  uint32_t crc = 0;     // of the unpacked bytes; 0: the writer did not compute one
  uint64_t packed = 0;  // bytes in the archive
  uint64_t size = 0;    // bytes unpacked; of a deflated entry what it claims, never beyond what deflate can reach
  uint64_t begin = 0;   // of the packed bytes in the file
};

class ZipArchive {
 public:
  // InputError naming the file when it is missing, truncated or not well-formed: entries that overlap, lie outside of
  // the file, have the same name, are encrypted or packed in another way, or whose two headers disagree.
  static ZipArchive open(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return map_.path(); }
  uint64_t bytes() const { return map_.bytes().size(); }
  // Sorted by name.
  const std::vector<ZipEntry>& entries() const { return entries_; }
  // Null when there is none.
  const ZipEntry* find(std::string_view name) const;

  // The bytes of a stored entry in the map, their checksum not compared.
  std::span<const std::byte> stored(const ZipEntry& entry) const;
  // InputError when the checksum of a stored entry is not that of its bytes.
  void check_stored(const ZipEntry& entry) const;
  // The bytes of any entry, unpacked and compared with their checksum; InputError when they are damaged or not of the
  // size that the entry claims. The caller has compared `entry.size` with what it can bear.
  std::vector<std::byte> read(const ZipEntry& entry) const;

 private:
  ZipArchive() = default;

  MappedFile map_;
  std::vector<ZipEntry> entries_;
};

// Writes stored entries, each beginning at a multiple of `alignment` bytes; ZIP64 where sizes ask for it. The file is
// complete or absent (FileWriter). Dates are 1980-01-01, so that equal contents give equal bytes.
class ZipWriter {
 public:
  // `alignment` <= 4096.
  ZipWriter(const std::filesystem::path& path, uint32_t alignment);

  // Begins an entry of exactly `size` bytes, which the calls of write() until the next begin() or finish() must give.
  void begin(const std::string& name, uint64_t size);
  void write(const void* data, size_t bytes);
  void finish();

 private:
  struct Written {
    std::string name;
    uint32_t crc = 0;
    uint64_t size = 0, header = 0;  // where its local header begins
  };
  void end_entry();

  FileWriter writer_;
  uint32_t alignment_;
  uint64_t left_ = 0;  // bytes that the entry still expects
  std::vector<Written> written_;
};

}  // namespace tandem
