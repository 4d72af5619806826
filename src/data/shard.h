// Token shards: text that was tokenised once, memory mapped ever after.
//
// File (little endian): header of 96 bytes, u32 ids [tokens], zero bytes up to a multiple of 8, u64 document starts
// [documents + 1] (token numbers; the first is 0, the last is the number of tokens). Header: 8 bytes "TANDEMTK",
// u32 version (1), u32 header bytes, 16 bytes of tokenizer hash (hexadecimal), u64 vocabulary size, u64 documents,
// u64 tokens, u64 bytes of text, u64 content hash (of ids, starts and bytes of text), u64 records (0 text,
// 1 conversations), 16 zero bytes. In shards of conversations the highest bit of an id is set when the token belongs to
// a response.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/hash.h"
#include "data/records.h"
#include "text/batch.h"

namespace tandem {

// What the ids of a shard mean.
struct TokenSpace {
  std::string tokenizer_hash;  // 16 hexadecimal digits
  int64_t vocab_size = 0;
  Records records = Records::text;
  bool operator==(const TokenSpace&) const = default;
};

// Of an id in a shard of conversations: the token belongs to a response.
inline constexpr uint32_t kResponseBit = uint32_t{1} << 31;

inline int32_t token_id(uint32_t stored) { return static_cast<int32_t>(stored & ~kResponseBit); }
inline bool in_response(uint32_t stored) { return (stored & kResponseBit) != 0; }
// The ids of a conversation as a shard holds them.
std::vector<uint32_t> mark_responses(std::span<const int32_t> ids, std::span<const Role> roles);

// One file, written aside and renamed by finish().
class ShardWriter {
 public:
  ShardWriter(const std::filesystem::path& path, TokenSpace space);
  // Ids outside the vocabulary, or response bits in a shard of text, are a LogicError.
  void add_document(std::span<const int32_t> ids, uint64_t text_bytes);
  // The same for ids as they are stored.
  void add_stored(std::span<const uint32_t> ids, uint64_t text_bytes);
  uint64_t tokens() const { return starts_.back(); }
  void finish();

 private:
  FileWriter file_;
  TokenSpace space_;
  Hash64 hash_;
  std::vector<uint64_t> starts_{0};
  uint64_t text_bytes_ = 0;
};

class Shard {
 public:
  // Reads the file once to check it. InputError when it is truncated or longer than its header says, when a count, a
  // start or an id is out of range, when the content hash differs, or when it is of another token space.
  Shard(const std::filesystem::path& path, const TokenSpace& space);

  int64_t documents() const { return static_cast<int64_t>(starts_.size()) - 1; }
  int64_t tokens() const { return static_cast<int64_t>(ids_.size()); }
  uint64_t text_bytes() const { return text_bytes_; }
  uint64_t content_hash() const { return content_hash_; }
  std::span<const uint32_t> document(int64_t index) const;

 private:
  [[noreturn]] void reject(const std::string& got, const std::string& expected) const;

  MappedFile map_;
  std::span<const uint32_t> ids_;
  std::span<const uint64_t> starts_;
  uint64_t text_bytes_ = 0;
  uint64_t content_hash_ = 0;
};

// Numbered documents of tokens, however they are kept.
class DocumentStore {
 public:
  virtual ~DocumentStore() = default;
  virtual int64_t documents() const = 0;
  virtual int64_t tokens() const = 0;
  virtual std::span<const uint32_t> document(int64_t index) const = 0;
  // Names the data in cursors and checkpoints.
  virtual std::string hash() const = 0;
};

// Documents of several shards under one numbering.
class ShardSet : public DocumentStore {
 public:
  ShardSet() = default;
  explicit ShardSet(std::vector<Shard> shards);

  int64_t documents() const override { return first_.empty() ? 0 : first_.back(); }
  int64_t tokens() const override { return tokens_; }
  uint64_t text_bytes() const { return text_bytes_; }
  // Of the contents of all shards in their order.
  std::string hash() const override;
  std::span<const uint32_t> document(int64_t index) const override;

 private:
  std::vector<Shard> shards_;
  std::vector<int64_t> first_;  // number of the first document of each shard, then the number of all documents
  int64_t tokens_ = 0;
  uint64_t text_bytes_ = 0;
};

// Writes "NAME-00000.tokens", "NAME-00001.tokens", ... into a folder, each of at most 2^26 tokens (256 MiB) unless one
// document is longer.
class ShardSetWriter {
 public:
  ShardSetWriter(std::filesystem::path folder, std::string name, TokenSpace space);
  void add_document(std::span<const int32_t> ids, uint64_t text_bytes);
  void add_stored(std::span<const uint32_t> ids, uint64_t text_bytes);
  // Number of files written; at least one.
  int64_t finish();

 private:
  void open();

  std::filesystem::path folder_;
  std::string name_;
  TokenSpace space_;
  int64_t files_ = 0;
  std::unique_ptr<ShardWriter> writer_;
};

// InputError as in Shard, and for less than one file.
ShardSet open_shards(const std::filesystem::path& folder, const std::string& name, int64_t files,
                     const TokenSpace& space);

}  // namespace tandem
