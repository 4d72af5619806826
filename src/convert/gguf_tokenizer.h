// Tokenizers in GGUF files: byte-level BPE ("gpt2") and SentencePiece's BPE ("llama").
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "formats/gguf.h"
#include "text/tokenizer.h"

namespace tandem {

// The tokenizer's part of a file's metadata, for a vocabulary of `vocab_size` ids: what the tokenizer lacks is filled
// up with unused tokens. `begins`: texts begin with BOS, whoever puts it there. What llama.cpp does not do as the
// tokenizer does goes to `notes`. InputError for a kind that llama.cpp does not have.
std::vector<std::pair<std::string, GgufValue>> gguf_tokenizer(const Tokenizer& tokenizer, int64_t vocab_size,
                                                              bool begins, std::vector<std::string>& notes);

// A tokenizer as its file's bytes and name.
struct TokenizerFile {
  std::string bytes;
  std::string name;
};

// The tokenizer of a GGUF file; empty where it has none. InputError, with a hint, for a kind that we do not have.
TokenizerFile tokenizer_of_gguf(const GgufFile& file);

}  // namespace tandem
