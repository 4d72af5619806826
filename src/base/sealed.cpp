#include "base/sealed.h"

#include <bit>
#include <cstring>

#include "base/error.h"
#include "base/hash.h"

namespace tandem {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are written as they lie in memory");

constexpr size_t kKind = 8, kOwner = 16;

struct Header {
  char kind[kKind];
  uint32_t version;
  uint32_t zero;
  char owner[kOwner];
  uint64_t hash;
  uint64_t length;
};
static_assert(sizeof(Header) == kSealBytes);

Header header_of(std::string_view bytes, const Seal& expected, const std::string& where) {
  Header header;
  if (bytes.size() < sizeof header || bytes.substr(0, kKind) != expected.kind) {
    throw InputError({.what = "not a file of this kind",
                      .where = where,
                      .got = fmt::format("{} bytes without its mark", bytes.size()),
                      .expected = fmt::format("'{}' at its start", expected.kind)});
  }
  std::memcpy(&header, bytes.data(), sizeof header);
  if (header.version == expected.version && header.zero == 0) return header;
  throw InputError({.what = "file of another version",
                    .where = where,
                    .got = fmt::format("version {}", header.version),
                    .expected = fmt::format("{}", expected.version)});
}

}  // namespace

void seal(std::string& bytes, const Seal& seal) {
  if (seal.kind.size() != kKind || seal.owner.size() != kOwner || bytes.size() < kSealBytes) {
    throw LogicError({.what = "seal: parts of another size"});
  }
  std::string_view sealed = std::string_view(bytes).substr(kSealBytes);
  Header header{};
  std::memcpy(header.kind, seal.kind.data(), kKind);
  header.version = seal.version;
  std::memcpy(header.owner, seal.owner.data(), kOwner);
  header.hash = hash64(sealed);
  header.length = sealed.size();
  std::memcpy(bytes.data(), &header, sizeof header);
}

std::string owner_of(std::string_view bytes, const Seal& expected, const std::string& where) {
  Header header = header_of(bytes, expected, where);
  return {header.owner, kOwner};
}

std::string_view unseal(std::string_view bytes, const Seal& expected, const std::string& where) {
  Header header = header_of(bytes, expected, where);
  std::string_view owner(header.owner, kOwner), sealed = bytes.substr(kSealBytes);
  if (owner != expected.owner) {
    throw InputError({.what = "bytes of another owner",
                      .where = where,
                      .got = std::string(owner),
                      .expected = expected.owner,
                      .hint = "were they written by another model?"});
  }
  if (header.length != sealed.size() || header.hash != hash64(sealed)) {
    throw InputError({.what = "damaged bytes",
                      .where = where,
                      .got = fmt::format("{} bytes with the wrong checksum or length", sealed.size()),
                      .expected = fmt::format("{} bytes", header.length)});
  }
  return sealed;
}

}  // namespace tandem
