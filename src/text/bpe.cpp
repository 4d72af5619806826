#include "text/bpe.h"

#include <algorithm>
#include <queue>

#include "base/error.h"
#include "text/byte_alphabet.h"
#include "text/unicode.h"

namespace tandem {
namespace {

// Above this many symbols the heap wins. Most words are shorter.
constexpr size_t kLongWord = 48;

struct Candidate {
  uint32_t rank;
  uint32_t position;
  int32_t left, right, result;
};

struct Later {
  bool operator()(const Candidate& a, const Candidate& b) const {
    return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
  }
};

}  // namespace

void merge_by_scanning(std::vector<int32_t>& symbols, size_t begin, const MergeTable& merges) {
  size_t count = symbols.size() - begin;
  if (count < 2) return;
  int32_t* s = symbols.data() + begin;
  // Merge of each symbol with the next one.
  std::array<Merge, kLongWord> few;
  std::vector<Merge> many(count > few.size() ? count : 0);
  Merge* pairs = many.empty() ? few.data() : many.data();
  for (size_t i = 0; i + 1 < count; ++i) pairs[i] = merges.find(s[i], s[i + 1]);
  while (count > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < count; ++i) {
      if (pairs[i].rank < pairs[best].rank) best = i;
    }
    if (pairs[best].rank == UINT32_MAX) break;
    s[best] = pairs[best].id;
    std::copy(s + best + 2, s + count, s + best + 1);
    if (best + 2 < count) std::copy(pairs + best + 2, pairs + count - 1, pairs + best + 1);
    --count;
    if (best > 0) pairs[best - 1] = merges.find(s[best - 1], s[best]);
    if (best + 1 < count) pairs[best] = merges.find(s[best], s[best + 1]);
  }
  symbols.resize(begin + count);
}

void merge_by_heap(std::vector<int32_t>& symbols, size_t begin, const MergeTable& merges) {
  size_t count = symbols.size() - begin;
  int32_t* s = symbols.data() + begin;
  constexpr uint32_t kNone = UINT32_MAX;
  std::vector<uint32_t> previous(count), next(count);
  std::priority_queue<Candidate, std::vector<Candidate>, Later> queue;
  auto offer = [&](uint32_t left, uint32_t right) {
    Merge merge = merges.find(s[left], s[right]);
    if (merge.rank != UINT32_MAX) queue.push({merge.rank, left, s[left], s[right], merge.id});
  };
  for (uint32_t i = 0; i < count; ++i) {
    previous[i] = i == 0 ? kNone : i - 1;
    next[i] = i + 1 == count ? kNone : i + 1;
  }
  for (uint32_t i = 0; i + 1 < count; ++i) offer(i, i + 1);
  while (!queue.empty()) {
    Candidate top = queue.top();
    queue.pop();
    uint32_t at = top.position;
    uint32_t right = next[at];
    // Entries whose symbols have changed since are out of date. Merged symbols are marked by -1.
    if (s[at] != top.left || right == kNone || s[right] != top.right) continue;
    s[at] = top.result;
    s[right] = -1;
    next[at] = next[right];
    if (next[at] != kNone) previous[next[at]] = at;
    if (previous[at] != kNone) offer(previous[at], at);
    if (next[at] != kNone) offer(at, next[at]);
  }
  symbols.erase(std::remove(symbols.begin() + static_cast<std::ptrdiff_t>(begin), symbols.end(), -1), symbols.end());
}

void merge_symbols(std::vector<int32_t>& symbols, size_t begin, const MergeTable& merges) {
  if (symbols.size() - begin <= kLongWord) {
    merge_by_scanning(symbols, begin, merges);
  } else {
    merge_by_heap(symbols, begin, merges);
  }
}

BpeModel::BpeModel(std::vector<std::string> tokens, const std::vector<MergeRule>& merges, const BpeOptions& options,
                   bool bytes)
    : tokens_(std::move(tokens)), options_(options), bytes_(bytes) {
  fill_tables(merges);
  constexpr std::string_view kSpaceMark = "\u2581";
  if (may_cut_at(kSpaceMark, merges)) boundary_ = kSpaceMark;
  // A word that its merges turn into one token needs no merging when it is met again.
  whole_words_ = TokenTable(tokens_.size());
  std::vector<int32_t> ids;
  for (size_t id = 0; id < tokens_.size(); ++id) {
    const std::string& word = bytes_ ? raw_tokens_[id] : tokens_[id];
    if (word.empty()) continue;
    ids.clear();
    merge_word(word, ids);
    bool whole = ids.size() == 1 && ids[0] == static_cast<int32_t>(id);
    if (whole || options_.ignore_merges) whole_words_.insert(word, static_cast<int32_t>(id));
  }
}

// No merge may join something else with what begins with the character: then the parts on both sides never meet. The
// character must be a token, so that no run of unknown characters goes across it, and a whole word must not be a token
// but by its merges.
bool BpeModel::may_cut_at(std::string_view character, const std::vector<MergeRule>& merges) const {
  if (bytes_ || options_.ignore_merges || characters_.find(character) < 0) return false;
  return std::none_of(merges.begin(), merges.end(), [&](const MergeRule& merge) {
    return tokens_[static_cast<size_t>(merge.right)].starts_with(character) &&
           !tokens_[static_cast<size_t>(merge.left)].ends_with(character);
  });
}

void BpeModel::fill_tables(const std::vector<MergeRule>& merges) {
  by_text_ = TokenTable(tokens_.size());
  characters_ = TokenTable(tokens_.size());
  for (size_t id = 0; id < tokens_.size(); ++id) {
    if (tokens_[id].empty()) continue;
    by_text_.insert(tokens_[id], static_cast<int32_t>(id));
    ++token_count_;
    size_t end = 0;
    next_code_point(tokens_[id], end);
    bool reserved = id < options_.reserved.size() && options_.reserved[id];
    if (end == tokens_[id].size() && !reserved) characters_.insert(tokens_[id], static_cast<int32_t>(id));
  }
  const ByteAlphabet& alphabet = ByteAlphabet::get();
  if (bytes_) {
    raw_tokens_.resize(tokens_.size());
    for (size_t id = 0; id < tokens_.size(); ++id) raw_tokens_[id] = alphabet.decode(tokens_[id]).value_or("");
  }
  for (int byte = 0; byte < 256; ++byte) {
    size_t i = static_cast<size_t>(byte);
    byte_symbols_[i] = find(alphabet.text(static_cast<uint8_t>(byte)));
    fallback_[i] = find(fmt::format("<0x{:02X}>", byte));
  }
  merges_ = MergeTable(merges.size());
  for (const MergeRule& merge : merges) merges_.insert(merge.left, merge.right, {merge.rank, merge.result});
}

bool BpeModel::append_bytes_of(std::string_view character, std::vector<int32_t>& symbols) const {
  for (char byte : character) {
    if (fallback_[static_cast<uint8_t>(byte)] < 0) return false;
  }
  for (char byte : character) symbols.push_back(fallback_[static_cast<uint8_t>(byte)]);
  return true;
}

void BpeModel::append_symbols(std::string_view word, std::vector<int32_t>& symbols) const {
  bool unknown_waits = false;
  auto flush = [&] {
    if (unknown_waits) symbols.push_back(*options_.unknown);
    unknown_waits = false;
  };
  for (size_t at = 0; at < word.size();) {
    size_t begin = at;
    int32_t symbol;
    if (bytes_) {
      symbol = byte_symbols_[static_cast<uint8_t>(word[at++])];
    } else {
      next_code_point(word, at);
      symbol = characters_.find(word.substr(begin, at - begin));
    }
    if (symbol >= 0) {
      flush();
      symbols.push_back(symbol);
      continue;
    }
    // In the byte-level alphabet the unknown "character" is the printable one of the byte.
    std::string_view character =
        bytes_ ? ByteAlphabet::get().text(static_cast<uint8_t>(word[begin])) : word.substr(begin, at - begin);
    // An unknown id that waits stays behind the bytes of a fallback, as in the reference library.
    if (options_.byte_fallback && append_bytes_of(character, symbols)) continue;
    if (!options_.unknown) continue;
    if (!options_.fuse_unknown) flush();
    unknown_waits = true;
  }
  flush();
}

void BpeModel::merge_word(std::string_view word, std::vector<int32_t>& ids) const {
  size_t begin = ids.size();
  append_symbols(word, ids);
  merge_symbols(ids, begin, merges_);
}

void BpeModel::encode_word(std::string_view word, std::vector<int32_t>& ids) const {
  int32_t whole = whole_words_.find(word);
  if (whole >= 0) {
    ids.push_back(whole);
  } else {
    merge_word(word, ids);
  }
}

}  // namespace tandem
