#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "text/sentencepiece_models.h"
#include "text/unicode.h"

namespace tandem {
namespace {

using Type = SentencePieceFile::Type;

constexpr float kUnknownPenalty = 10.0F;  // kUnkPenalty of the library
constexpr float kScoreLimit = 100000.0F;  // sums are brought back to 0 beyond it (kScoreResetThreshold)

}  // namespace

SentencePieceModel::SentencePieceModel(const SentencePieceFile& file) {
  by_text_ = TokenTable(file.pieces.size());
  tokens_.reserve(file.pieces.size());  // the table points into it
  for (const SentencePieceFile::Piece& piece : file.pieces) {
    tokens_.push_back(piece.text);
    by_text_.insert(tokens_.back(), static_cast<int32_t>(tokens_.size()) - 1);
  }
}

SentencePieceUnigram::SentencePieceUnigram(const SentencePieceFile& file)
    : SentencePieceModel(file), unknown_(file.unknown) {
  std::vector<std::string_view> texts;
  std::vector<int32_t> ids;
  float lowest = std::numeric_limits<float>::max();
  for (size_t id = 0; id < file.pieces.size(); ++id) {
    const SentencePieceFile::Piece& piece = file.pieces[id];
    scores_.push_back(piece.score);
    user_defined_.push_back(piece.type == Type::user_defined);
    if (piece.type == Type::normal) lowest = std::min(lowest, piece.score);
    if (piece.type != Type::normal && piece.type != Type::user_defined) continue;
    texts.emplace_back(piece.text);
    ids.push_back(static_cast<int32_t>(id));
  }
  unknown_score_ = lowest - kUnknownPenalty;
  trie_ = DoubleArray(texts, ids);
  for (int byte = 0; byte < 256 && file.byte_fallback; ++byte)
    byte_ids_.push_back(find(fmt::format("<0x{:02X}>", byte)));
}

float SentencePieceUnigram::score_of(int32_t id, size_t bytes) const {
  // What users define is always chosen (GetUserDefinedScore).
  if (user_defined_[static_cast<size_t>(id)]) return static_cast<float>(0.1 * (static_cast<double>(bytes) - 1));
  return scores_[static_cast<size_t>(id)];
}

std::vector<SentencePieceUnigram::Step> SentencePieceUnigram::best_steps(std::string_view text) const {
  std::vector<Step> best(text.size() + 1);
  size_t frontier = 0;
  auto offer = [&](size_t begin, size_t end, int32_t id, float score) {
    frontier = std::max(frontier, end);
    if (best[end].id < 0 || score > best[end].score) best[end] = {score, id, begin};
  };
  for (size_t at = 0; at < text.size();) {
    float here = best[at].score;
    if (here < -kScoreLimit || here > kScoreLimit) {
      for (size_t i = at; i <= frontier; ++i) {
        if (i == at || best[i].id >= 0) best[i].score -= here;
      }
      here = 0;
    }
    size_t behind = at;
    next_code_point(text, behind);
    bool alone = false;  // the character is a piece
    uint32_t node = DoubleArray::kRoot;
    for (size_t end = at; end < text.size();) {
      node = trie_.step(node, static_cast<unsigned char>(text[end++]));
      if (node == DoubleArray::kNowhere) break;
      int32_t id = trie_.value(node);
      if (id < 0) continue;
      offer(at, end, id, score_of(id, end - at) + here);
      alone |= end == behind;
    }
    if (!alone) offer(at, behind, unknown_, unknown_score_ + here);
    at = behind;
  }
  return best;
}

void SentencePieceUnigram::encode_word(std::string_view text, std::vector<int32_t>& ids) const {
  std::vector<Step> best = best_steps(text);
  size_t before = ids.size();
  // From the end of the text. Unknown neighbours are one token, or bytes.
  bool last_unknown = false;
  for (size_t end = text.size(); end > 0; end = best[end].begin) {
    bool unknown = best[end].id == unknown_;
    if (unknown && !byte_ids_.empty()) {
      for (size_t at = end; at > best[end].begin; --at)
        ids.push_back(byte_ids_[static_cast<unsigned char>(text[at - 1])]);
    } else if (!unknown || !last_unknown) {
      ids.push_back(best[end].id);
    }
    last_unknown = unknown;
  }
  std::reverse(ids.begin() + static_cast<std::ptrdiff_t>(before), ids.end());
}

}  // namespace tandem
