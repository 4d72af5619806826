// Documents and conversations out of files and folders.
//
// A .txt file, or another file that is named by itself, is one document. A .jsonl file holds one JSON object per line
// (lines end in LF), whose "text" is a document, or which is a conversation (data/conversation.h); lines of white space
// are skipped. Both may be compressed: .txt.gz, .jsonl.gz, .txt.zst, .jsonl.zst. A folder stands for all such files in
// it and below, in the order of their paths; other files, and .jsonl files whose first record is of another kind, are
// counted and left out.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/holdout.h"
#include "data/records.h"
#include "formats/compressed.h"
#include "text/chat_template.h"

namespace tandem {

struct SourceFile {
  enum class Kind { kText, kJsonLines };
  std::filesystem::path path;
  Kind kind = Kind::kText;
  Compression compression = Compression::none;
  uint64_t bytes = 0;     // of the text, decompressed
  uint64_t hash = 0;      // hash64 of the text
  int64_t documents = 0;  // lines with a record, or 1; empty files have none
  double text_share = 1;  // JSONL: bytes of text in a byte of the file, by its first few records
};

// Lists, reads and checks the files once. InputError: a path that is missing, of another kind or unreadable, a damaged
// archive, bytes that are not UTF-8 (file and byte offset), a folder without a fitting file; a text file where
// conversations are wanted.
std::vector<SourceFile> list_sources(const std::vector<std::string>& paths, Records records = Records::text);

// Calls `visit` with every document in order. The view is valid during the call only. InputError names file and line of
// a record that does not parse or has no "text".
void for_each_document(const std::vector<SourceFile>& files, const std::function<void(std::string_view text)>& visit);

// The same for conversations; `place` is file and line.
using VisitConversation = std::function<void(std::span<const ChatMessage> messages, const std::string& place)>;
void for_each_conversation(const std::vector<SourceFile>& files, const VisitConversation& visit);

// kDocuments from 20 documents on, kTails for fewer. Reads all documents when it has to.
HoldoutRule make_holdout_rule(const std::vector<SourceFile>& files, double share = kHeldOutShare);

}  // namespace tandem
