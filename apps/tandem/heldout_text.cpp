#include "heldout_text.h"

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

HeldOut pack_text(const LoadedModel& loaded, const TextOptions& options) {
  std::vector<SourceFile> files = list_sources(options.data);
  HoldoutRule rule;
  if (options.heldout_only) rule = make_holdout_rule(files);
  auto each_document = [&](const HeldOut::Visit& visit) {
    for_each_document(files, [&](std::string_view text) {
      if (options.heldout_only) text = split_document(text, rule).heldout;
      std::vector<int32_t> ids = loaded.tokenizer.encode(text);
      visit({reinterpret_cast<const uint32_t*>(ids.data()), ids.size()});
    });
  };
  PackRule packing{.length = loaded.model->config().max_seq_len,
                   .bos = loaded.document_tokens.bos,
                   .eos = loaded.document_tokens.eos};
  return HeldOut(each_document, packing, token_byte_lengths(loaded.tokenizer), options.rows);
}

}  // namespace tandem::app
