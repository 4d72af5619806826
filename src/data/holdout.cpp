#include "data/holdout.h"

#include <algorithm>
#include <cmath>

#include "base/hash.h"

namespace tandem {
namespace {

// End of the part of `text` that is trained on.
size_t tail_cut(std::string_view text, double share) {
  auto tail = static_cast<size_t>(static_cast<double>(text.size()) * share);
  size_t mark = text.size() - tail, lowest = mark - std::min(mark, tail);
  if (mark == text.size()) return mark;
  std::string_view before = text.substr(0, mark);
  for (std::string_view boundary : {"\n\n", "\n", " "}) {
    size_t found = before.rfind(boundary);
    if (found != std::string_view::npos && found + boundary.size() > lowest) return found + boundary.size();
  }
  while (mark > 0 && (static_cast<unsigned char>(text[mark]) & 0xC0) == 0x80) --mark;
  return mark;
}

}  // namespace

HoldoutChoice::HoldoutChoice(double share) : share_(share) {}

void HoldoutChoice::add(uint64_t hash) {
  smallest_ = std::min(smallest_, hash);
  largest_ = std::max(largest_, hash);
}

HoldoutRule HoldoutChoice::rule() const {
  auto below = static_cast<uint64_t>(std::ldexp(share_, 64));
  bool none = smallest_ >= below, all = largest_ < below;
  return {.kind = HoldoutRule::Kind::kDocuments, .below = none || all ? smallest_ + 1 : below};
}

SplitDocument split_document(std::string_view text, const HoldoutRule& rule) {
  switch (rule.kind) {
    case HoldoutRule::Kind::kNothing: return {.training = text, .heldout = {}};
    case HoldoutRule::Kind::kDocuments:
      if (hash64(text) < rule.below) return {.training = {}, .heldout = text};
      return {.training = text, .heldout = {}};
    case HoldoutRule::Kind::kTails: break;
  }
  size_t cut = tail_cut(text, rule.share);
  return {.training = text.substr(0, cut), .heldout = text.substr(cut)};
}

}  // namespace tandem
