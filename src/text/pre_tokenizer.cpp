#include "text/pre_tokenizer.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/json.h"
#include "text/byte_alphabet.h"
#include "text/normalizer.h"
#include "text/unicode.h"

namespace tandem {
namespace {

// ASCII punctuation and the category P as it was in Unicode 8, which is what the library's pre-tokenizer knows.
constexpr std::string_view kPunctuation =
    "(?!["
    "\\x{61D}\\x{9FD}\\x{A76}\\x{C77}\\x{C84}\\x{1B4E}-\\x{1B4F}\\x{1B7D}-\\x{1B7F}\\x{2E43}-\\x{2E4F}"
    "\\x{2E52}-\\x{2E5D}\\x{10D6E}\\x{10EAD}\\x{10F55}-\\x{10F59}\\x{10F86}-\\x{10F89}"
    "\\x{113D4}-\\x{113D5}\\x{113D7}-\\x{113D8}\\x{1144B}-\\x{1144F}\\x{1145A}-\\x{1145B}\\x{1145D}"
    "\\x{11660}-\\x{1166C}\\x{116B9}\\x{1183B}\\x{11944}-\\x{11946}\\x{119E2}\\x{11A3F}-\\x{11A46}"
    "\\x{11A9A}-\\x{11A9C}\\x{11A9E}-\\x{11AA2}\\x{11B00}-\\x{11B09}\\x{11BE1}\\x{11C41}-\\x{11C45}"
    "\\x{11C70}-\\x{11C71}\\x{11EF7}-\\x{11EF8}\\x{11F43}-\\x{11F4F}\\x{11FFF}\\x{12FF1}-\\x{12FF2}"
    "\\x{16D6D}-\\x{16D6F}\\x{16E97}-\\x{16E9A}\\x{16FE2}\\x{1E5FF}\\x{1E95E}-\\x{1E95F}"
    "])[!-/:-@\\[-`{-~\\p{P}\\x{166D}\\x{111C9}]";

struct Part {
  TextRange range;
  bool match = false;
};

SplitBehavior read_behavior(const JsonNode& node) {
  const std::string& name = node.string();
  if (name == "Removed") return SplitBehavior::removed;
  if (name == "Isolated") return SplitBehavior::isolated;
  if (name == "MergedWithPrevious") return SplitBehavior::merged_with_previous;
  if (name == "MergedWithNext") return SplitBehavior::merged_with_next;
  if (name == "Contiguous") return SplitBehavior::contiguous;
  node.wrong("unknown behavior", "Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
}

// Matches and what lies between them, covering the text.
std::vector<Part> all_parts(const std::vector<TextRange>& matches, size_t size, bool invert) {
  std::vector<Part> parts;
  size_t at = 0;
  for (const TextRange& match : matches) {
    if (match.begin > at) parts.push_back({{at, match.begin}, invert});
    parts.push_back({match, !invert});
    at = match.end;
  }
  if (at < size) parts.push_back({{at, size}, invert});
  return parts;
}

// A match joins the part before it, unless that is a match too.
std::vector<TextRange> merge_with_previous(const std::vector<Part>& parts) {
  std::vector<TextRange> out;
  bool previous = false;
  for (const Part& part : parts) {
    if (part.match && !previous && !out.empty()) {
      out.back().end = part.range.end;
    } else {
      out.push_back(part.range);
    }
    previous = part.match;
  }
  return out;
}

std::vector<TextRange> merge_with_next(const std::vector<Part>& parts) {
  std::vector<TextRange> out;
  bool next_is_match = false;
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    if (part->match && !next_is_match && !out.empty()) {
      out.back().begin = part->range.begin;
    } else {
      out.push_back(part->range);
    }
    next_is_match = part->match;
  }
  return {out.rbegin(), out.rend()};
}

std::vector<TextRange> merge_runs(const std::vector<Part>& parts) {
  std::vector<TextRange> out;
  bool previous = false;
  for (const Part& part : parts) {
    if (part.match == previous && !out.empty()) {
      out.back().end = part.range.end;
    } else {
      out.push_back(part.range);
    }
    previous = part.match;
  }
  return out;
}

std::string replace_spaces(std::string_view text, std::string_view replacement) {
  std::string out;
  for (char c : text) {
    if (c == ' ') {
      out += replacement;
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace

std::vector<TextRange> apply_behavior(const std::vector<TextRange>& matches, size_t size, SplitBehavior behavior,
                                      bool invert) {
  std::vector<Part> parts = all_parts(matches, size, invert);
  std::vector<TextRange> ranges;
  switch (behavior) {
    case SplitBehavior::merged_with_previous: ranges = merge_with_previous(parts); break;
    case SplitBehavior::merged_with_next: ranges = merge_with_next(parts); break;
    case SplitBehavior::contiguous: ranges = merge_runs(parts); break;
    default:
      for (const Part& part : parts) {
        if (!part.match || behavior == SplitBehavior::isolated) ranges.push_back(part.range);
      }
  }
  std::erase_if(ranges, [](const TextRange& range) { return range.begin == range.end; });
  return ranges;
}

void PreTokenizer::run(size_t step, std::string_view text, bool at_start, const Visit& visit) const {
  if (text.empty()) return;
  if (step == steps_.size()) {
    visit(text);
    return;
  }
  const Step& now = steps_[step];
  if (const Split* split = std::get_if<Split>(&now)) {
    auto next = [&](const TextRange& range) {
      run(step + 1, text.substr(range.begin, range.end - range.begin), at_start && range.begin == 0, visit);
    };
    // A scanner's matches cover the text, so that there is nothing to do about the parts between them.
    if (split->splitter.covers() && split->behavior == SplitBehavior::isolated) {
      split->splitter.for_each(text, next);
    } else {
      auto matches = split->splitter.find_all(text);
      for (const TextRange& range : apply_behavior(matches, text.size(), split->behavior, split->invert)) next(range);
    }
  } else if (std::holds_alternative<AddSpace>(now)) {
    if (text.front() == ' ') {
      run(step + 1, text, at_start, visit);
    } else {
      run(step + 1, " " + std::string(text), at_start, visit);
    }
  } else if (std::holds_alternative<ByteCharacters>(now)) {
    run(step + 1, ByteAlphabet::get().encode(text), at_start, visit);
  } else {
    const Metaspace& meta = std::get<Metaspace>(now);
    std::string replaced = replace_spaces(text, meta.replacement);
    bool wanted = meta.prepend == Metaspace::Prepend::always || (meta.prepend == Metaspace::Prepend::first && at_start);
    if (wanted && !replaced.starts_with(meta.replacement)) replaced.insert(0, meta.replacement);
    run(step + 1, replaced, at_start, visit);
  }
}

PreTokenizer PreTokenizer::read(const JsonNode& node, bool raw_bytes) {
  PreTokenizer pre_tokenizer;
  if (!node.is_null()) pre_tokenizer.add(node);
  auto& steps = pre_tokenizer.steps_;
  if (raw_bytes && !steps.empty() && std::holds_alternative<ByteCharacters>(steps.back())) {
    steps.pop_back();
    pre_tokenizer.ends_in_bytes_ = true;
  }
  return pre_tokenizer;
}

bool PreTokenizer::asks_for_start() const {
  return std::any_of(steps_.begin(), steps_.end(), [](const Step& step) {
    const Metaspace* meta = std::get_if<Metaspace>(&step);
    return meta != nullptr && meta->prepend == Metaspace::Prepend::first;
  });
}

void PreTokenizer::add_split(std::string_view pattern, SplitBehavior behavior, bool invert, const JsonNode& node) {
  steps_.push_back(Split{WordSplitter::for_pattern(pattern, node.where()), behavior, invert});
}

void PreTokenizer::add_byte_level(const JsonNode& node) {
  if (node.at("add_prefix_space").boolean()) steps_.push_back(AddSpace{});
  if (node.boolean_or("use_regex", true)) steps_.push_back(Split{WordSplitter::gpt2(), SplitBehavior::isolated, false});
  steps_.push_back(ByteCharacters{});
}

void PreTokenizer::add_metaspace(const JsonNode& node) {
  Metaspace step{node.at("replacement").character(), Metaspace::Prepend::always};
  std::string scheme = node.string_or("prepend_scheme", node.boolean_or("add_prefix_space", true) ? "always" : "never");
  if (scheme == "first") {
    step.prepend = Metaspace::Prepend::first;
  } else if (scheme == "never") {
    step.prepend = Metaspace::Prepend::never;
  } else if (scheme != "always") {
    node.at("prepend_scheme").wrong("unknown scheme", "always, first or never");
  }
  WordSplitter splitter = WordSplitter::literal(step.replacement);
  steps_.push_back(std::move(step));
  if (node.boolean_or("split", true)) {
    steps_.push_back(Split{std::move(splitter), SplitBehavior::merged_with_next, false});
  }
}

void PreTokenizer::add(const JsonNode& node) {
  const std::string& type = node.at("type").string();
  if (type == "Sequence") {
    for (const JsonNode& part : node.at("pretokenizers").elements()) add(part);
  } else if (type == "ByteLevel") {
    add_byte_level(node);
  } else if (type == "Split") {
    JsonNode pattern = node.at("pattern");
    SplitBehavior behavior = read_behavior(node.at("behavior"));
    bool invert = node.at("invert").boolean();
    std::string literal = read_literal(pattern);
    if (literal.empty()) {
      add_split(read_pattern(pattern).pattern(), behavior, invert, pattern);
    } else {
      steps_.push_back(Split{WordSplitter::literal(literal), behavior, invert});
    }
  } else if (type == "Digits") {
    bool each = node.at("individual_digits").boolean();
    // With the numbers of Unicode 17.
    add_split("[\\p{N}\\x{11DE0}-\\x{11DE9}\\x{16FF4}-\\x{16FF6}]",
              each ? SplitBehavior::isolated : SplitBehavior::contiguous, false, node);
  } else if (type == "Punctuation") {
    SplitBehavior behavior = node.has("behavior") ? read_behavior(node.at("behavior")) : SplitBehavior::isolated;
    add_split(kPunctuation, behavior, false, node);
  } else if (type == "Whitespace") {
    std::string word = unicode_word_class();
    add_split(fmt::format("[{}]+|[^{}\\s]+", word, word), SplitBehavior::removed, true, node);
  } else if (type == "WhitespaceSplit") {
    steps_.push_back(Split{WordSplitter::whitespace(), SplitBehavior::removed, false});
  } else if (type == "CharDelimiterSplit") {
    steps_.push_back(Split{WordSplitter::literal(node.at("delimiter").character()), SplitBehavior::removed, false});
  } else if (type == "Metaspace") {
    add_metaspace(node);
  } else {
    node.at("type").wrong("unknown kind of pre-tokenizer",
                          "ByteLevel, Split, Digits, Punctuation, Whitespace, WhitespaceSplit, CharDelimiterSplit, "
                          "Metaspace or Sequence");
  }
}

}  // namespace tandem
