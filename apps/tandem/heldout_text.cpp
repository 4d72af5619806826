#include "heldout_text.h"

#include <algorithm>

#include "base/error.h"
#include "data/source.h"

namespace tandem::app {

void add_text_options(CLI::App& verb, TextOptions& options) {
  verb.add_option("--data", options.data, "Text files, .jsonl files, folders of .txt and .jsonl files")
      ->expected(1, -1);
  verb.add_option("--rows", options.rows, "Read at most so many rows, spread evenly; 0: all")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 40))
      ->capture_default_str();
  verb.add_flag("--heldout", options.heldout_only, "Only the part of the text that training would hold out");
}

namespace {

// Calls `visit` with the ids of every document, or of its held-out part.
HeldOut::EachDocument each_document(const LoadedModel& loaded, const TextOptions& options) {
  std::vector<SourceFile> files = list_sources(options.data);
  HoldoutRule rule;
  if (options.heldout_only) rule = make_holdout_rule(files);
  return [&loaded, files = std::move(files), rule = std::move(rule),
          heldout_only = options.heldout_only](const HeldOut::Visit& visit) {
    for_each_document(files, [&](std::string_view text) {
      if (heldout_only) text = split_document(text, rule).heldout;
      std::vector<int32_t> ids = loaded.tokenizer.encode(text);
      visit({reinterpret_cast<const uint32_t*>(ids.data()), ids.size()});
    });
  };
}

PackRule packing(const LoadedModel& loaded, int64_t length) {
  return {.length = length, .bos = loaded.document_tokens.bos, .eos = loaded.document_tokens.eos};
}

}  // namespace

HeldOut pack_text(const LoadedModel& loaded, const TextOptions& options) {
  return HeldOut(each_document(loaded, options), packing(loaded, loaded.model->config().max_seq_len),
                 token_byte_lengths(loaded.tokenizer), options.rows);
}

HeldOut pack_documents(const LoadedModel& loaded, const TextOptions& options, int64_t length) {
  auto piece = static_cast<size_t>(length - 1);  // behind BOS
  size_t longest = 0;
  HeldOut::EachDocument documents = each_document(loaded, options);
  auto whole_rows = [&](const HeldOut::Visit& visit) {
    documents([&](std::span<const uint32_t> ids) {
      longest = std::max(longest, ids.size());
      visit(ids.first(ids.size() / piece * piece));
    });
    if (longest < piece) {
      throw InputError({.what = "no document is long enough",
                        .where = "--data",
                        .got = fmt::format("at most {} tokens", longest),
                        .expected = fmt::format("{}, behind BOS", piece)});
    }
  };
  return HeldOut(whole_rows, packing(loaded, length), token_byte_lengths(loaded.tokenizer), options.rows);
}

}  // namespace tandem::app
