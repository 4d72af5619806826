// Compressed text files, read piece by piece: gzip (RFC 1952) through zlib, Zstandard (RFC 8878) through libzstd.
#pragma once

#include <filesystem>
#include <functional>
#include <string_view>

namespace tandem {

enum class Compression { none, gzip, zstd };

// By the last extension: .gz and .zst.
Compression compression_of(const std::filesystem::path& path);

// Calls `visit` with the file's bytes, decompressed, in order; each view is valid during the call only. Archives of
// several members (gzip) or frames (zstd) are read as one text. Without compression the whole file comes as one piece.
// InputError: the file is missing or unreadable, damaged, cut off, or followed by bytes that are no archive (other than
// zeros, with which tapes and disks pad).
void read_pieces(const std::filesystem::path& path, Compression compression,
                 const std::function<void(std::string_view piece)>& visit);

}  // namespace tandem
