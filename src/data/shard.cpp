#include "data/shard.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/error.h"

namespace tandem {
namespace fs = std::filesystem;

namespace {

constexpr char kMagic[] = "TANDEMTK";
constexpr uint32_t kVersion = 1;
constexpr uint64_t kTokensPerShard = uint64_t{1} << 26;

struct Header {
  char magic[8];
  uint32_t version;
  uint32_t header_bytes;
  char tokenizer_hash[16];
  uint64_t vocab_size;
  uint64_t documents;
  uint64_t tokens;
  uint64_t text_bytes;
  uint64_t content_hash;
  uint64_t records;
  uint64_t reserved[2];
};
static_assert(sizeof(Header) == 96);

uint64_t padded(uint64_t id_bytes) { return (id_bytes + 7) / 8 * 8; }

// What of a stored id is the id.
uint32_t id_mask(Records records) { return records == Records::conversations ? ~kResponseBit : ~uint32_t{0}; }

std::string_view as_bytes(const void* data, size_t bytes) { return {static_cast<const char*>(data), bytes}; }

fs::path shard_path(const fs::path& folder, const std::string& name, int64_t index) {
  return folder / fmt::format("{}-{:05}.tokens", name, index);
}

}  // namespace

ShardWriter::ShardWriter(const fs::path& path, TokenSpace space) : file_(path), space_(std::move(space)) {
  if (space_.tokenizer_hash.size() != sizeof(Header::tokenizer_hash)) {
    throw LogicError({.what = "tokenizer hash of the wrong length", .got = "'" + space_.tokenizer_hash + "'"});
  }
  Header empty{};
  file_.write(&empty, sizeof empty);
}

std::vector<uint32_t> mark_responses(std::span<const int32_t> ids, std::span<const Role> roles) {
  std::vector<uint32_t> stored(ids.begin(), ids.end());
  for (size_t i = 0; i < stored.size(); ++i) {
    if (roles[i] == Role::response) stored[i] |= kResponseBit;
  }
  return stored;
}

void ShardWriter::add_document(std::span<const int32_t> ids, uint64_t text_bytes) {
  add_stored({reinterpret_cast<const uint32_t*>(ids.data()), ids.size()}, text_bytes);
}

void ShardWriter::add_stored(std::span<const uint32_t> ids, uint64_t text_bytes) {
  uint32_t mask = id_mask(space_.records);
  for (uint32_t id : ids) {
    if ((id & mask) >= static_cast<uint64_t>(space_.vocab_size)) {
      throw LogicError({.what = "token outside the vocabulary", .got = std::to_string(id)});
    }
  }
  file_.write(ids.data(), ids.size_bytes());
  hash_.add(ids.data(), ids.size_bytes());
  starts_.push_back(starts_.back() + ids.size());
  text_bytes_ += text_bytes;
}

void ShardWriter::finish() {
  uint64_t id_bytes = tokens() * sizeof(uint32_t), zeros = 0;
  file_.write(&zeros, padded(id_bytes) - id_bytes);
  file_.write(starts_.data(), starts_.size() * sizeof(uint64_t));
  hash_.add(starts_.data(), starts_.size() * sizeof(uint64_t));
  hash_.add_number(text_bytes_);
  Header header{};
  std::memcpy(header.magic, kMagic, sizeof header.magic);
  header.version = kVersion;
  header.header_bytes = sizeof header;
  std::memcpy(header.tokenizer_hash, space_.tokenizer_hash.data(), sizeof header.tokenizer_hash);
  header.vocab_size = static_cast<uint64_t>(space_.vocab_size);
  header.documents = starts_.size() - 1;
  header.tokens = tokens();
  header.text_bytes = text_bytes_;
  header.content_hash = hash_.value();
  header.records = static_cast<uint64_t>(space_.records);
  file_.write_at(0, as_bytes(&header, sizeof header));
  file_.finish();
}

void Shard::reject(const std::string& got, const std::string& expected) const {
  throw InputError(
      {.what = "damaged or foreign token shard", .where = map_.path().string(), .got = got, .expected = expected});
}

Shard::Shard(const fs::path& path, const TokenSpace& space) : map_(path) {
  std::string_view file = map_.text();
  Header header{};
  if (file.size() < sizeof header) reject(fmt::format("{} bytes", file.size()), "a header of 96 bytes");
  std::memcpy(&header, file.data(), sizeof header);
  if (std::memcmp(header.magic, kMagic, sizeof header.magic) != 0) reject("other first bytes", "TANDEMTK");
  if (header.version != kVersion || header.header_bytes != sizeof header) {
    reject(fmt::format("version {}", header.version), fmt::format("version {}", kVersion));
  }
  std::string hash(header.tokenizer_hash, sizeof header.tokenizer_hash);
  if (hash != space.tokenizer_hash) reject("tokenizer " + hash, "tokenizer " + space.tokenizer_hash);
  if (header.vocab_size != static_cast<uint64_t>(space.vocab_size)) {
    reject(fmt::format("{} vocabulary entries", header.vocab_size), std::to_string(space.vocab_size));
  }
  if (header.records != static_cast<uint64_t>(space.records)) {
    reject(fmt::format("records of kind {}", header.records),
           fmt::format("kind {}", static_cast<uint64_t>(space.records)));
  }
  // Counts are bounded by the size of the file before they are multiplied.
  uint64_t payload = file.size() - sizeof header;
  bool fits = header.tokens <= payload / 4 && header.documents < payload / 8;
  uint64_t needed = fits ? padded(header.tokens * 4) + (header.documents + 1) * 8 : 0;
  if (!fits || needed != payload) {
    reject(fmt::format("{} bytes for {} tokens and {} documents", file.size(), header.tokens, header.documents),
           fits ? fmt::format("{} bytes", needed + sizeof header) : "a longer file");
  }
  const char* ids = file.data() + sizeof header;
  ids_ = {reinterpret_cast<const uint32_t*>(ids), header.tokens};
  starts_ = {reinterpret_cast<const uint64_t*>(ids + padded(header.tokens * 4)), header.documents + 1};
  std::string_view padding = file.substr(sizeof header + ids_.size_bytes(), header.tokens % 2 * 4);
  bool reserved = std::any_of(std::begin(header.reserved), std::end(header.reserved), [](uint64_t v) { return v; });
  if (reserved || padding.find_first_not_of('\0') != std::string_view::npos) {
    reject("values in unused bytes", "zeros");
  }
  text_bytes_ = header.text_bytes;
  content_hash_ = header.content_hash;

  if (starts_.front() != 0 || starts_.back() != header.tokens || !std::is_sorted(starts_.begin(), starts_.end())) {
    reject("document starts out of order", "ascending starts from 0 to the number of tokens");
  }
  uint32_t mask = id_mask(space.records);
  auto foreign = std::find_if(ids_.begin(), ids_.end(), [&](uint32_t id) { return (id & mask) >= header.vocab_size; });
  if (foreign != ids_.end()) {
    reject(fmt::format("id {} at token {}", *foreign & mask, foreign - ids_.begin()),
           fmt::format("ids below {}", header.vocab_size));
  }
  Hash64 content;
  content.add(ids_.data(), ids_.size_bytes());
  content.add(starts_.data(), starts_.size_bytes());
  content.add_number(text_bytes_);
  if (content.value() != header.content_hash) reject("another content hash", hex64(header.content_hash));
}

std::span<const uint32_t> Shard::document(int64_t index) const {
  auto at = static_cast<size_t>(index);
  return ids_.subspan(starts_[at], starts_[at + 1] - starts_[at]);
}

ShardSet::ShardSet(std::vector<Shard> shards) : shards_(std::move(shards)) {
  first_.push_back(0);
  for (const Shard& shard : shards_) {
    first_.push_back(first_.back() + shard.documents());
    tokens_ += shard.tokens();
    text_bytes_ += shard.text_bytes();
  }
}

std::string ShardSet::hash() const {
  Hash64 hash;
  for (const Shard& shard : shards_) hash.add_number(shard.content_hash());
  return hex64(hash.value());
}

std::span<const uint32_t> ShardSet::document(int64_t index) const {
  if (index < 0 || index >= documents()) {
    throw LogicError({.what = "document out of range",
                      .got = std::to_string(index),
                      .expected = fmt::format("0 to {}", documents() - 1)});
  }
  auto next = std::upper_bound(first_.begin(), first_.end(), index);
  auto shard = static_cast<size_t>(next - first_.begin()) - 1;
  return shards_[shard].document(index - first_[shard]);
}

ShardSetWriter::ShardSetWriter(fs::path folder, std::string name, TokenSpace space)
    : folder_(std::move(folder)), name_(std::move(name)), space_(std::move(space)) {
  open();
}

void ShardSetWriter::open() {
  writer_ = std::make_unique<ShardWriter>(shard_path(folder_, name_, files_), space_);
  ++files_;
}

void ShardSetWriter::add_document(std::span<const int32_t> ids, uint64_t text_bytes) {
  add_stored({reinterpret_cast<const uint32_t*>(ids.data()), ids.size()}, text_bytes);
}

void ShardSetWriter::add_stored(std::span<const uint32_t> ids, uint64_t text_bytes) {
  if (writer_->tokens() > 0 && writer_->tokens() + ids.size() > kTokensPerShard) {
    writer_->finish();
    open();
  }
  writer_->add_stored(ids, text_bytes);
}

int64_t ShardSetWriter::finish() {
  writer_->finish();
  return files_;
}

ShardSet open_shards(const fs::path& folder, const std::string& name, int64_t files, const TokenSpace& space) {
  if (files < 1) {
    throw InputError({.what = "no token shard",
                      .where = shard_path(folder, name, 0).string(),
                      .got = fmt::format("{} files", files),
                      .expected = "at least 1"});
  }
  std::vector<Shard> shards;
  for (int64_t i = 0; i < files; ++i) shards.emplace_back(shard_path(folder, name, i), space);
  return ShardSet(std::move(shards));
}

}  // namespace tandem
