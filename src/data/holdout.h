// The rule that holds out a part of the text: by the hash of a document, so that neither order nor names nor the number
// of files change it, and equal documents stay together.
#pragma once

#include <cstdint>
#include <string_view>

namespace tandem {

inline constexpr double kHeldOutShare = 0.05;

// Which part of the text is held out when no held-out files are given:
//  - kDocuments: whole documents, by their hash; about `share` of them.
//  - kTails: the last `share` of each document, cut behind a blank line, else behind a line, else behind a space, if
//    there is one in the stretch of that length before the mark; else in front of the character at the mark.
struct HoldoutRule {
  enum class Kind { kNothing, kDocuments, kTails };
  Kind kind = Kind::kNothing;
  uint64_t below = 0;            // kDocuments: documents whose hash is smaller are held out
  double share = kHeldOutShare;  // kTails
};

// Looks at the hashes of all documents and gives the rule for whole documents. If the share would take none of them, or
// all, the smallest hash alone is held out.
class HoldoutChoice {
 public:
  explicit HoldoutChoice(double share);
  void add(uint64_t hash);
  HoldoutRule rule() const;

 private:
  double share_;
  uint64_t smallest_ = UINT64_MAX;
  uint64_t largest_ = 0;
};

struct SplitDocument {
  std::string_view training;  // either may be empty
  std::string_view heldout;
};

SplitDocument split_document(std::string_view text, const HoldoutRule& rule);

}  // namespace tandem
