#include <algorithm>
#include <functional>
#include <set>

#include "text/bpe.h"
#include "text/sentencepiece_models.h"
#include "text/unicode.h"

namespace tandem {
namespace {

using Piece = SentencePieceFile::Piece;
using Type = SentencePieceFile::Type;

// The library joins two neighbours when together they are a piece, the highest score first (bpe_model.cc): every way to
// cut a piece into two pieces is a merge, and pieces of equal score have one rank.
class MergeLister {
 public:
  explicit MergeLister(const SentencePieceFile& file) : pieces_(file.pieces), by_text_(file.pieces.size()) {
    for (size_t id = 0; id < pieces_.size(); ++id) by_text_.insert(pieces_[id].text, static_cast<int32_t>(id));
  }

  // Every character of a piece that merges make is a piece itself.
  bool complete() const {
    return std::all_of(pieces_.begin(), pieces_.end(), [&](const Piece& piece) {
      for (size_t at = 0; at < piece.text.size() && piece.type == Type::normal;) {
        size_t begin = at;
        next_code_point(piece.text, at);
        int32_t id = by_text_.find(std::string_view(piece.text).substr(begin, at - begin));
        if (id < 0 || pieces_[static_cast<size_t>(id)].reserved()) return false;
      }
      return true;
    });
  }

  std::vector<BpeModel::MergeRule> run() const {
    std::set<float, std::greater<>> scores;
    for (const Piece& piece : pieces_) scores.insert(piece.score);
    const std::vector<float> ranks(scores.begin(), scores.end());
    std::vector<BpeModel::MergeRule> merges;
    for (size_t id = 0; id < pieces_.size(); ++id) {
      const Piece& piece = pieces_[id];
      if (piece.type != Type::normal) continue;
      auto rank = std::lower_bound(ranks.begin(), ranks.end(), piece.score, std::greater<>()) - ranks.begin();
      size_t at = 0;
      for (next_code_point(piece.text, at); at < piece.text.size(); next_code_point(piece.text, at)) {
        int32_t left = find_normal(std::string_view(piece.text).substr(0, at));
        int32_t right = find_normal(std::string_view(piece.text).substr(at));
        if (left < 0 || right < 0) continue;
        merges.push_back({left, right, static_cast<int32_t>(id), static_cast<uint32_t>(rank)});
      }
    }
    return merges;
  }

 private:
  int32_t find_normal(std::string_view text) const {
    int32_t id = by_text_.find(text);
    return id >= 0 && pieces_[static_cast<size_t>(id)].type == Type::normal ? id : -1;
  }

  const std::vector<Piece>& pieces_;
  TokenTable by_text_;
};

}  // namespace

std::unique_ptr<const TokenModel> make_sentencepiece_bpe(const SentencePieceFile& file) {
  MergeLister lister(file);
  if (file.has(Type::unused) || !lister.complete()) return nullptr;
  BpeOptions options{.unknown = file.unknown, .fuse_unknown = true, .byte_fallback = file.byte_fallback};
  std::vector<std::string> tokens;
  for (const Piece& piece : file.pieces) {
    tokens.push_back(piece.text);
    options.reserved.push_back(piece.type != Type::normal);
  }
  return std::make_unique<BpeModel>(std::move(tokens), lister.run(), options, false);
}

}  // namespace tandem
