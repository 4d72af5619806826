#include "text/unigram.h"

#include <algorithm>

#include "base/error.h"
#include "base/json.h"
#include "text/unicode.h"

namespace tandem {
namespace {

// What an unknown character costs beside the least likely token (SentencePiece's kUnkPenalty).
constexpr double kUnknownPenalty = 10.0;

struct TextStep {
  size_t begin, end;
  int32_t id;
};

}  // namespace

UnigramModel::UnigramModel(std::vector<std::string> tokens, std::vector<double> scores, std::optional<int32_t> unknown,
                           bool byte_fallback)
    : tokens_(std::move(tokens)), scores_(std::move(scores)), unknown_(unknown), byte_fallback_(byte_fallback) {
  trie_ = DoubleArray(tokens_);
  by_text_ = TokenTable(tokens_.size());
  for (size_t id = 0; id < tokens_.size(); ++id) by_text_.insert(tokens_[id], static_cast<int32_t>(id));
  unknown_score_ = *std::min_element(scores_.begin(), scores_.end()) - kUnknownPenalty;
}

void UnigramModel::append_unknown(std::string_view text, std::vector<int32_t>& ids) const {
  if (byte_fallback_) {
    std::vector<int32_t> bytes;
    for (char byte : text) bytes.push_back(find(fmt::format("<0x{:02X}>", static_cast<uint8_t>(byte))));
    if (std::find(bytes.begin(), bytes.end(), -1) == bytes.end()) {
      ids.insert(ids.end(), bytes.begin(), bytes.end());
      return;
    }
  }
  ids.push_back(*unknown_);
}

void UnigramModel::encode_word(std::string_view word, std::vector<int32_t>& ids) const {
  std::vector<Step> best(word.size() + 1);
  auto offer = [&](size_t begin, size_t end, int32_t id, double score) {
    // The first of equals stays, as in the reference library.
    if (best[end].id < 0 || score > best[end].score) best[end] = {score, begin, id};
  };
  for (size_t at = 0; at < word.size();) {
    size_t behind = at;
    next_code_point(word, behind);
    bool alone = false;  // the character is a token
    uint32_t node = DoubleArray::kRoot;
    for (size_t end = at; end < word.size();) {
      node = trie_.step(node, static_cast<unsigned char>(word[end++]));
      if (node == DoubleArray::kNowhere) break;
      int32_t id = trie_.value(node);
      if (id < 0) continue;
      offer(at, end, id, best[at].score + scores_[static_cast<size_t>(id)]);
      alone |= end == behind;
    }
    if (!alone) {
      if (!unknown_) {
        throw InputError({.what = "character outside the vocabulary",
                          .got = "'" + std::string(word.substr(at, behind - at)) + "'",
                          .expected = "characters of the tokenizer's tokens: it has no unknown token"});
      }
      offer(at, behind, *unknown_, best[at].score + unknown_score_);
    }
    at = behind;
  }
  std::vector<TextStep> path;
  for (size_t end = word.size(); end > 0; end = best[end].begin) {
    bool join = unknown_ && best[end].id == *unknown_ && !path.empty() && path.back().id == *unknown_;
    if (join) {
      path.back().begin = best[end].begin;  // unknown neighbours are one token
    } else {
      path.push_back({best[end].begin, end, best[end].id});
    }
  }
  for (auto step = path.rbegin(); step != path.rend(); ++step) {
    if (unknown_ && step->id == *unknown_) {
      append_unknown(word.substr(step->begin, step->end - step->begin), ids);
    } else {
      ids.push_back(step->id);
    }
  }
}

std::unique_ptr<const TokenModel> read_unigram(const JsonNode& node) {
  std::vector<std::string> tokens;
  std::vector<double> scores;
  TokenTable seen(node.at("vocab").value().size());
  auto entries = node.at("vocab").elements();
  if (entries.empty()) node.at("vocab").wrong("empty vocabulary", "at least one token");
  tokens.reserve(entries.size());  // the table points into it
  for (const JsonNode& entry : entries) {
    auto parts = entry.elements();
    if (parts.size() != 2) entry.wrong("wrong length", "a token and its score");
    if (!parts[1].value().is_number()) parts[1].wrong("wrong type", "a number");
    const std::string& token = parts[0].string();
    if (token.empty()) parts[0].wrong("empty token in the vocabulary", "a token of at least one character");
    if (seen.find(token) >= 0) parts[0].wrong("token given twice", "different tokens");
    tokens.push_back(token);
    seen.insert(tokens.back(), static_cast<int32_t>(scores.size()));
    scores.push_back(parts[1].value().get<double>());
  }
  std::optional<int32_t> unknown;
  if (node.has("unk_id") && !node.at("unk_id").is_null()) {
    int64_t id = node.at("unk_id").integer();
    if (id < 0 || id >= static_cast<int64_t>(tokens.size())) {
      node.at("unk_id").wrong("id outside the vocabulary", fmt::format("0 to {}", tokens.size() - 1));
    }
    unknown = static_cast<int32_t>(id);
  }
  bool fallback = node.boolean_or("byte_fallback", false);
  return std::make_unique<UnigramModel>(std::move(tokens), std::move(scores), unknown, fallback);
}

}  // namespace tandem
