#include "infer/text_dialogue.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace tandem {

std::vector<int32_t> TextDialogue::encode(std::string_view text) const {
  std::vector<int32_t> ids = tokenizer_.encode(text);
  if (!ids.empty() && ids.front() == bos_) ids.erase(ids.begin());  // prompt() writes it
  return ids;
}

// As long as the ids are those of the text, they stay so: a word that the model has begun and somebody ends is one
// word. What a model has drawn may be spelled in tokens that no text is encoded to; then a piece is encoded by itself.
void TextDialogue::append(std::string_view text) {
  std::string whole = now_.text + std::string(text);
  if (encode(now_.text) == now_.ids) {
    now_.ids = encode(whole);
  } else {
    std::vector<int32_t> more = tokenizer_.encode(text);
    now_.ids.insert(now_.ids.end(), more.begin(), more.end());
  }
  now_.text = std::move(whole);
}

void TextDialogue::say(std::string_view text) {
  if (text.empty() && now_.ids.empty()) throw InputError({.what = "empty text", .expected = "some text to continue"});
  Content before = now_;
  append(text);
  before_.push_back({std::move(before), {}, std::string(text)});
}

Prompt TextDialogue::prompt() const {
  if (now_.ids.empty()) throw InputError({.what = "nothing to continue", .expected = "some text"});
  std::vector<int32_t> ids{bos_};
  ids.insert(ids.end(), now_.ids.begin() + static_cast<std::ptrdiff_t>(now_.first), now_.ids.end());
  return Prompt::continue_text(ids);
}

void TextDialogue::answer(const TextGeneration& written) {
  before_.back().asked = now_;
  before_.back().answered = true;
  if (written.tokens.finish_reason == FinishReason::stop) return append(written.text);  // its ids go on behind the text
  std::span<const int32_t> ids = written.tokens.ids;
  bool ended = !ids.empty() && std::find(ends_.begin(), ends_.end(), ids.back()) != ends_.end();
  if (ended) ids = ids.first(ids.size() - 1);
  now_.ids.insert(now_.ids.end(), ids.begin(), ids.end());
  now_.text += written.text;
}

std::optional<std::string> TextDialogue::undo() {
  if (before_.empty()) return std::nullopt;
  std::string said = std::move(before_.back().said);
  now_ = std::move(before_.back().before);
  before_.pop_back();
  return said;
}

bool TextDialogue::retract() {
  if (before_.empty() || !before_.back().answered) return false;
  now_ = std::move(before_.back().asked);
  before_.back().answered = false;
  return true;
}

void TextDialogue::clear() {
  now_ = {};
  before_.clear();
}

std::string TextDialogue::shorten(int64_t most) {
  size_t before = now_.first, kept = static_cast<size_t>(std::max<int64_t>(most - 1, 1));  // beside BOS
  if (now_.ids.size() - now_.first <= kept) return "";
  now_.first = now_.ids.size() - kept;
  return fmt::format("the oldest {} tokens", now_.first - before);
}

void TextDialogue::load(std::string_view text) {
  if (text.empty()) throw InputError({.what = "empty text"});
  Content content{std::string(text), encode(text)};
  clear();
  now_ = std::move(content);
}

}  // namespace tandem
