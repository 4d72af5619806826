// What the tests of text share: random text, recorded cases, a tokenizer.json small enough to take apart.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "base/rng.h"
#include "text/unicode.h"

namespace tandem::test {

inline std::filesystem::path golden_tokenizers() {
  return std::filesystem::path(TANDEM_SOURCE_DIR) / "tests/golden/tokenizer";
}

inline std::filesystem::path shared_tokenizers() {
  return std::filesystem::path(TANDEM_SOURCE_DIR) / "../shared/data/tokenizer";
}

inline std::vector<Json> read_cases(const std::filesystem::path& path) {
  std::vector<Json> cases;
  std::string text = read_file(path);
  for (size_t at = 0; at < text.size();) {
    size_t end = std::min(text.find('\n', at), text.size());
    cases.push_back(parse_json(std::string_view(text).substr(at, end - at), path.string()));
    at = end + 1;
  }
  return cases;
}

// A code point of those that tokenizers treat in different ways; now and then any other that is not a surrogate.
inline uint32_t random_code_point(Rng& rng) {
  constexpr std::u32string_view kInteresting =
      U"  \t\r\n''sStTmMdDrRevElL019.,!-_<>#\u0085\u00A0\u00E9\u00BD\u017F\u0301\u0663\u1680\u180E\u2003\u2028\u200D"
      U"\u2167\u3000\u65E5\uFB01\uFEFF\uFFFD\U0001F44D\U0001D7D8\U00010400";
  if (rng.below(8) != 0) return kInteresting[rng.below(static_cast<uint32_t>(kInteresting.size()))];
  uint32_t c = rng.below(rng.below(2) == 0 ? 0x3000 : 0x110000);
  return c >= 0xD800 && c < 0xE000 ? 0x20 : c;
}

inline std::string random_text(Rng& rng, uint32_t most) {
  std::string text;
  for (uint32_t n = rng.below(most + 1); n > 0; --n) append_code_point(text, random_code_point(rng));
  return text;
}

// Byte-level BPE with 8 characters, 3 merges and one special token.
inline Json small_tokenizer() {
  return Json::parse(R"({
    "version": "1.0", "truncation": null, "padding": null,
    "added_tokens": [{"id": 0, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
                      "normalized": false, "special": true}],
    "normalizer": null,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
    "post_processor": {"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
      "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
      "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}},
    "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
    "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
      "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
      "vocab": {"<s>": 0, "a": 1, "b": 2, "c": 3, "d": 4, "\u0120": 5, "\u00c3": 6, "\u00a9": 7,
                "ab": 8, "abc": 9, "\u0120ab": 10},
      "merges": [["a", "b"], ["ab", "c"], ["\u0120", "ab"]]}})");
}

}  // namespace tandem::test
