// JSON lines, plain and compressed.
#include <cstdlib>

#include "base/error.h"
#include "data/source.h"
#include "targets.h"
#include "temporary_file.h"
#include "text/unicode.h"

namespace tandem::fuzz {
namespace {

void read_text(const std::string& path) {
  auto files = list_sources({path});
  int64_t documents = 0;
  for_each_document(files, [&](std::string_view text) {
    if (valid_utf8_prefix(text) != text.size()) std::abort();
    ++documents;
  });
  if (documents != files.at(0).documents) std::abort();
  make_holdout_rule(files);
}

void read_conversations(const std::string& path) {
  for_each_conversation(list_sources({path}, Records::conversations),
                        [](std::span<const ChatMessage> messages, const std::string&) {
                          if (messages.empty()) std::abort();
                        });
}

}  // namespace

void jsonl(std::string_view bytes) {
  static const TemporaryFile plain("data.jsonl"), gzip("data.jsonl.gz"), zstd("data.jsonl.zst");
  const TemporaryFile& file = bytes.starts_with("\x1F\x8B")           ? gzip
                              : bytes.starts_with("\x28\xB5\x2F\xFD") ? zstd
                                                                      : plain;
  file.write(bytes);
  for (auto read : {read_text, read_conversations}) {
    try {
      read(file.path());
    } catch (const InputError&) {
    }
  }
}

}  // namespace tandem::fuzz
