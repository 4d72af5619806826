// Documents out of files and folders, and the rule that holds some of them out.
//
// A .txt file, or another file that is named by itself, is one document. A .jsonl file holds one JSON object per line
// (lines end in LF), whose "text" is a document; lines of white space are skipped. A folder stands for all .txt and
// .jsonl files in it and below, in the order of their paths; other files, and .jsonl files whose first record has no
// "text", are counted and left out.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace tandem {

struct SourceFile {
  enum class Kind { kText, kJsonLines };
  std::filesystem::path path;
  Kind kind = Kind::kText;
  uint64_t bytes = 0;
  uint64_t hash = 0;      // hash64 of the file's bytes
  int64_t documents = 0;  // lines with a record, or 1; empty files have none
};

// Lists, reads and checks the files once. InputError: a path that is missing, of another kind or unreadable, bytes that
// are not UTF-8 (file and byte offset), no file at all.
std::vector<SourceFile> list_sources(const std::vector<std::string>& paths);

// Calls `visit` with every document in order. The view is valid during the call only. InputError names file and line of
// a record that does not parse or has no "text".
void for_each_document(const std::vector<SourceFile>& files, const std::function<void(std::string_view text)>& visit);

// Which part of the text is held out when no held-out files are given:
//  - 20 documents or more: whole documents, by a hash of the text. About 5 % of them; the choice does not depend on
//    their order or number, and equal texts stay together. If the hash takes none (or all), the document with the
//    smallest hash alone is held out.
//  - fewer: the last 5 % of each document, cut behind a blank line, else behind a line, else behind a space, if there
//  is
//    one in the 5 % before the mark; else in front of the character at the mark.
struct HoldoutRule {
  enum class Kind { kNothing, kDocuments, kTails };
  Kind kind = Kind::kNothing;
  uint64_t below = 0;  // kDocuments: texts whose hash64 is smaller are held out
};

// Reads all documents when it has to.
HoldoutRule make_holdout_rule(const std::vector<SourceFile>& files);

struct SplitDocument {
  std::string_view training;  // either may be empty
  std::string_view heldout;
};

SplitDocument split_document(std::string_view text, const HoldoutRule& rule);

}  // namespace tandem
