// Temporary folders, small corpora and a byte-level tokenizer without a file for the tests of data/.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "base/rng.h"
#include "data/shard.h"
#include "text/tokenizer.h"

namespace tandem {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    path_ = std::filesystem::temp_directory_path() /
            fmt::format("tandem_data_{}_{}_{}", test->test_suite_name(), test->name(), ::getpid());
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }

  const std::filesystem::path& path() const { return path_; }
  // Writes a file below the folder and returns its path.
  std::string write(const std::string& name, const std::string& bytes) const {
    auto file = path_ / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file, std::ios::binary) << bytes;
    return file.string();
  }

 private:
  std::filesystem::path path_;
};

// The message of the InputError that `action` throws; a failure when it throws none.
template <class Action>
std::string input_error_of(Action action) {
  try {
    action();
  } catch (const InputError& error) {
    return error.what();
  }
  ADD_FAILURE() << "no InputError";
  return "";
}

using Documents = std::vector<std::vector<int32_t>>;

inline TokenSpace test_space(int64_t vocab_size = 100) {
  return {.tokenizer_hash = "0123456789abcdef", .vocab_size = vocab_size};
}

inline Documents random_documents(Rng& rng, int64_t count, uint32_t longest, uint32_t vocab_size = 100) {
  Documents documents(static_cast<size_t>(count));
  for (auto& document : documents) {
    document.resize(rng.below(longest + 1));
    for (int32_t& id : document) id = static_cast<int32_t>(3 + rng.below(vocab_size - 3));
  }
  return documents;
}

// The documents as a set of `files` shards inside a folder.
inline ShardSet write_shards(const TemporaryFolder& folder, const Documents& documents, size_t files = 1) {
  std::vector<Shard> shards;
  for (size_t file = 0; file < files; ++file) {
    auto path = folder.path() / fmt::format("{}-of-{}.tokens", file, files);
    ShardWriter writer(path, test_space());
    for (size_t i = documents.size() * file / files; i < documents.size() * (file + 1) / files; ++i) {
      writer.add_document(documents[i], documents[i].size() * 3);
    }
    writer.finish();
    shards.emplace_back(path, test_space());
  }
  return ShardSet(std::move(shards));
}

// One token per byte, with <s> = 0 and </s> = 1, then `special` tokens, and, as the only merge, "th".
inline Tokenizer byte_tokenizer(const std::vector<std::string>& special = {}) {
  Json vocab = {{"<s>", 0}, {"</s>", 1}};
  int32_t id = 2;
  for (const std::string& token : special) vocab[token] = id++;
  auto utf8 = [](int code) {
    std::string text;
    if (code < 0x80) return text += static_cast<char>(code);
    text += static_cast<char>(0xC0 | code >> 6);
    return text += static_cast<char>(0x80 | (code & 0x3F));
  };
  int next = 256;
  for (int byte = 0; byte < 256; ++byte) {
    // The byte-level alphabet: printable Latin-1 stands for itself, all else is numbered from U+0100 on.
    bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    vocab[utf8(printable ? byte : next++)] = id++;
  }
  vocab["th"] = id;
  Json byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
  auto added = [](int number, const char* content) {
    return Json{{"id", number},    {"content", content},  {"single_word", false}, {"lstrip", false},
                {"rstrip", false}, {"normalized", false}, {"special", true}};
  };
  Json added_tokens = {added(0, "<s>"), added(1, "</s>")};
  for (const std::string& token : special) added_tokens.push_back(added(vocab[token], token.c_str()));
  Json file = {{"version", "1.0"},
               {"truncation", nullptr},
               {"padding", nullptr},
               {"added_tokens", added_tokens},
               {"normalizer", nullptr},
               {"pre_tokenizer", byte_level},
               {"post_processor", nullptr},
               {"decoder", byte_level},
               {"model",
                {{"type", "BPE"},
                 {"dropout", nullptr},
                 {"unk_token", nullptr},
                 {"continuing_subword_prefix", nullptr},
                 {"end_of_word_suffix", nullptr},
                 {"fuse_unk", false},
                 {"byte_fallback", false},
                 {"vocab", vocab},
                 {"merges", {"t h"}}}}};
  return Tokenizer::parse(file.dump(), "test tokenizer");
}

}  // namespace tandem
