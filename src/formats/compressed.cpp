#include "formats/compressed.h"

#include <fmt/format.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"

namespace tandem {
namespace fs = std::filesystem;
namespace {

constexpr size_t kPieceBytes = size_t{1} << 18;

using Visit = std::function<void(std::string_view piece)>;

class Archive {
 public:
  Archive(const fs::path& path, const char* kind) : map_(path), kind_(kind) {
    if (map_.text().empty()) reject("an empty file");
  }

  std::string_view bytes() const { return map_.text(); }
  [[noreturn]] void reject(const std::string& got) const {
    throw InputError({.what = fmt::format("damaged {} archive", kind_),
                      .where = map_.path().string(),
                      .got = got,
                      .expected = fmt::format("a whole {} file", kind_)});
  }
  [[noreturn]] void cut_off() const { reject(fmt::format("its first part, {} bytes", bytes().size())); }
  // What follows the last member may only be zeros.
  void check_tail(size_t offset) const {
    if (bytes().find_first_not_of('\0', offset) == std::string_view::npos) return;
    reject(fmt::format("bytes behind its end, at {}", offset));
  }

 private:
  MappedFile map_;
  const char* kind_;
};

struct EndInflate {
  void operator()(z_stream* stream) const {
    inflateEnd(stream);
    delete stream;
  }
};

// Decompresses one member that begins at `offset` and returns where it ends.
size_t inflate_member(const Archive& archive, z_stream& stream, size_t offset, std::vector<char>& piece,
                      const Visit& visit) {
  if (inflateReset(&stream) != Z_OK) throw LogicError({.what = "zlib cannot begin a member"});
  std::string_view bytes = archive.bytes();
  for (;;) {
    size_t most = std::min(bytes.size() - offset, size_t{std::numeric_limits<uInt>::max()});
    // zlib reads from what its older interface calls a non-const pointer.
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data() + offset));
    stream.avail_in = static_cast<uInt>(most);
    stream.next_out = reinterpret_cast<Bytef*>(piece.data());
    stream.avail_out = static_cast<uInt>(piece.size());
    int code = inflate(&stream, Z_NO_FLUSH);
    offset += most - stream.avail_in;
    size_t made = piece.size() - stream.avail_out;
    if (made > 0) visit({piece.data(), made});
    if (code == Z_STREAM_END) return offset;
    if (code == Z_BUF_ERROR) archive.cut_off();
    if (code == Z_MEM_ERROR) throw std::bad_alloc();
    if (code != Z_OK) archive.reject(fmt::format("{} at byte {}", stream.msg ? stream.msg : "an error", offset));
  }
}

bool member_follows(std::string_view bytes, size_t offset) { return bytes.substr(offset).starts_with("\x1f\x8b"); }

void read_gzip(const fs::path& path, const Visit& visit) {
  Archive archive(path, "gzip");
  auto owned = std::make_unique<z_stream>();
  constexpr int kGzipOnly = 16;
  if (inflateInit2(owned.get(), MAX_WBITS + kGzipOnly) != Z_OK) throw std::bad_alloc();
  std::unique_ptr<z_stream, EndInflate> stream(owned.release());
  std::vector<char> piece(kPieceBytes);
  size_t offset = 0;
  do offset = inflate_member(archive, *stream, offset, piece, visit);
  while (member_follows(archive.bytes(), offset));
  archive.check_tail(offset);
}

struct FreeZstd {
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

bool frame_follows(std::string_view bytes, size_t offset) {
  // A frame, or one of the sixteen kinds of frames to skip (RFC 8878, section 3.1.2).
  std::string_view rest = bytes.substr(offset);
  if (rest.size() < 4) return false;
  bool skippable = (static_cast<unsigned char>(rest[0]) & 0xF0) == 0x50 && rest.substr(1, 3) == "\x2a\x4d\x18";
  return skippable || rest.starts_with("\x28\xb5\x2f\xfd");
}

void read_zstd(const fs::path& path, const Visit& visit) {
  Archive archive(path, "zstd");
  std::unique_ptr<ZSTD_DCtx, FreeZstd> context(ZSTD_createDCtx());
  if (!context) throw std::bad_alloc();
  std::vector<char> piece(kPieceBytes);
  std::string_view bytes = archive.bytes();
  ZSTD_inBuffer in{bytes.data(), bytes.size(), 0};
  for (bool inside = false;;) {
    if (!inside && in.pos > 0 && !frame_follows(bytes, in.pos)) return archive.check_tail(in.pos);
    ZSTD_outBuffer out{piece.data(), piece.size(), 0};
    size_t before = in.pos;
    size_t wanted = ZSTD_decompressStream(context.get(), &out, &in);
    if (ZSTD_isError(wanted)) archive.reject(fmt::format("{} at byte {}", ZSTD_getErrorName(wanted), in.pos));
    if (out.pos > 0) visit({piece.data(), out.pos});
    inside = wanted != 0;
    if (inside && out.pos == 0 && in.pos == before) archive.cut_off();
  }
}

}  // namespace

Compression compression_of(const fs::path& path) {
  std::string extension = path.extension().string();
  if (extension == ".gz") return Compression::gzip;
  if (extension == ".zst") return Compression::zstd;
  return Compression::none;
}

void read_pieces(const fs::path& path, Compression compression, const Visit& visit) {
  switch (compression) {
    case Compression::gzip: return read_gzip(path, visit);
    case Compression::zstd: return read_zstd(path, visit);
    case Compression::none: break;
  }
  MappedFile map(path);
  if (!map.text().empty()) visit(map.text());
}

}  // namespace tandem
