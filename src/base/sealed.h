// Bytes behind a header by which a reader knows that they are whole, of a version that it reads, and whose they are.
//
// 48 bytes, little endian: kind (8 characters), version (u32), zero (u32), owner (16 characters), hash64 of all that
// follows the header (u64), its length (u64). Not meant to withstand an adversary: what follows is still to be parsed
// with care.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace tandem {

struct Seal {
  std::string_view kind;  // 8 characters
  uint32_t version = 1;
  std::string owner;  // 16 characters: what these bytes belong to
};

inline constexpr size_t kSealBytes = 48;

// Fills the first kSealBytes of `bytes`, which stand before what is sealed.
void seal(std::string& bytes, const Seal& seal);

// The owner of bytes that begin with a header of this kind and version. InputError when they don't; `where` names them.
std::string owner_of(std::string_view bytes, const Seal& expected, const std::string& where);

// What follows the header. InputError for another kind, version or owner, and for bytes that were cut or changed.
std::string_view unseal(std::string_view bytes, const Seal& expected, const std::string& where);

}  // namespace tandem
