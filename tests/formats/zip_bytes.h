// Builds zip archives by hand, wrong ones too.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/deflate.h"
#include "base/little_endian.h"

namespace tandem::test {

struct ZipPart {
  std::string name, bytes;
  bool deflated = false;
  std::optional<uint32_t> claimed_size =
      std::nullopt;  // in the directory; the local header leaves sizes to a descriptor
  std::optional<uint32_t> crc = std::nullopt;
};

// Offsets of what zip_bytes() made, for changes in place.
struct ZipPlaces {
  std::vector<size_t> headers, entries;  // local headers and entries of the directory
  size_t directory = 0, end = 0;
};

// An archive without ZIP64 records; sizes follow the bytes, as Python's and PyTorch's writers leave them.
inline std::string zip_bytes(const std::vector<ZipPart>& parts, ZipPlaces* places = nullptr) {
  constexpr uint16_t kVersion = 20, kSizesFollow = 8, kZero = 0;
  constexpr uint32_t kNone = 0;
  std::string out, directory;
  ZipPlaces at;
  for (const ZipPart& part : parts) {
    std::string packed = part.deflated ? deflated(part.bytes, -MAX_WBITS) : part.bytes;
    auto crc = static_cast<uint32_t>(crc32_z(0, reinterpret_cast<const Bytef*>(part.bytes.data()), part.bytes.size()));
    crc = part.crc.value_or(crc);
    auto size = part.claimed_size.value_or(static_cast<uint32_t>(part.bytes.size()));
    auto packed_size = static_cast<uint32_t>(packed.size());
    auto method = static_cast<uint16_t>(part.deflated ? 8 : 0);
    auto name = static_cast<uint16_t>(part.name.size());
    at.headers.push_back(out.size());
    at.entries.push_back(directory.size());
    directory +=
        little_endian(uint32_t{0x02014b50}, kVersion, kVersion, kSizesFollow, method, kZero, kZero, crc, packed_size,
                      size, name, kZero, kZero, kZero, kZero, kNone, static_cast<uint32_t>(out.size())) +
        part.name;
    out += little_endian(uint32_t{0x04034b50}, kVersion, kSizesFollow, method, kZero, kZero, kNone, kNone, kNone, name,
                         kZero) +
           part.name + packed + little_endian(uint32_t{0x08074b50}, crc, packed_size, size);
  }
  at.directory = out.size();
  for (size_t& entry : at.entries) entry += at.directory;
  auto count = static_cast<uint16_t>(parts.size());
  auto begin = static_cast<uint32_t>(out.size());
  at.end = out.size() + directory.size();
  out += directory + little_endian(uint32_t{0x06054b50}, kZero, kZero, count, count,
                                   static_cast<uint32_t>(directory.size()), begin, kZero);
  if (places) *places = at;
  return out;
}

template <class T>
void overwrite(std::string& bytes, size_t at, T value) {
  ASSERT_LE(at + sizeof value, bytes.size());
  std::memcpy(bytes.data() + at, &value, sizeof value);
}

}  // namespace tandem::test
