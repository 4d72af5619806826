// Cuts normalized text into words, the units inside which a model merges.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "text/json_node.h"
#include "text/word_splitter.h"

namespace tandem {

// What becomes of the parts that a pattern matches.
enum class SplitBehavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

// A list of steps, read from the "pre_tokenizer" of a tokenizer.json. No steps: the whole text is one word.
class PreTokenizer {
 public:
  using Visit = std::function<void(std::string_view word)>;

  PreTokenizer() = default;
  // Null, or an object with a type. InputError for an unknown type. `raw_bytes`: the model can read words that are
  // bytes.
  static PreTokenizer read(const JsonNode& node, bool raw_bytes);

  // True when the last step writes bytes in the byte-level alphabet and the model reads bytes. split() then leaves that
  // last writing out: its words are the raw bytes, and the model does as if it had been done.
  bool ends_in_bytes() const { return ends_in_bytes_; }

  // Whether `at_start` makes a difference to split().
  bool asks_for_start() const;

  // Calls visit for every word (never an empty one), in order. `at_start`: the text stands at the very beginning of
  // what the user gave. `text` is valid UTF-8.
  void split(std::string_view text, bool at_start, const Visit& visit) const { run(0, text, at_start, visit); }

 private:
  struct Split {
    WordSplitter splitter;
    SplitBehavior behavior;
    bool invert;
  };
  struct AddSpace {};        // a leading space, when there is none
  struct ByteCharacters {};  // bytes written in the byte-level alphabet
  struct Metaspace {
    std::string replacement;
    enum class Prepend { always, first, never } prepend;
  };
  using Step = std::variant<Split, AddSpace, ByteCharacters, Metaspace>;

  void add(const JsonNode& node);
  void add_split(std::string_view pattern, SplitBehavior behavior, bool invert, const JsonNode& node);
  void add_byte_level(const JsonNode& node);
  void add_metaspace(const JsonNode& node);
  void run(size_t step, std::string_view text, bool at_start, const Visit& visit) const;

  std::vector<Step> steps_;
  bool ends_in_bytes_ = false;
};

// Cuts text of `size` bytes at the matches of a pattern. Empty parts are left out.
std::vector<TextRange> apply_behavior(const std::vector<TextRange>& matches, size_t size, SplitBehavior behavior,
                                      bool invert);

}  // namespace tandem
