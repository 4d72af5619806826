#include "infer/chat_dialogue.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace tandem {
namespace {

// Whether the ids say what the text says: a stop string, say, is in the ids alone.
bool same_text(const Tokenizer& tokenizer, const TextGeneration& written) {
  for (int32_t id : written.tokens.ids) {
    if (id >= tokenizer.vocab_size()) return false;
  }
  return tokenizer.decode(written.tokens.ids, true) == written.text;
}

}  // namespace

ChatDialogue::ChatDialogue(const Tokenizer& tokenizer, const ChatTokenNames& names, int32_t bos,
                           std::vector<int32_t> ends)
    : tokenizer_(tokenizer),
      chat_(tokenizer, names, bos, ends.front()),
      bos_(bos),
      eos_(ends.front()),
      ends_(std::move(ends)) {
  for (const std::string& name : names.all()) {
    std::optional<int32_t> id = tokenizer.token_to_id(name);
    if (id && std::find(ends_.begin(), ends_.end(), *id) == ends_.end()) ends_.push_back(*id);
  }
}

std::vector<int32_t> ChatDialogue::encode(const ChatMessage& message) const {
  std::vector<int32_t> ids = chat_.prompt({&message, 1});
  ids.erase(ids.begin());  // BOS
  return ids;
}

// The very ids that were written, where they are a message: they say what the text says, and no token of the template
// is among them but at their end.
std::vector<int32_t> ChatDialogue::encode_written(const TextGeneration& written) const {
  auto reserved = [&](int32_t id) { return id == bos_ || std::find(ends_.begin(), ends_.end(), id) != ends_.end(); };
  std::span<const int32_t> ids = written.tokens.ids;
  if (!ids.empty() && reserved(ids.back())) ids = ids.first(ids.size() - 1);
  if (!same_text(tokenizer_, written) || std::any_of(ids.begin(), ids.end(), reserved)) {
    return encode({ChatRole::assistant, written.text});
  }
  std::vector<int32_t> message{chat_.opening()};
  message.insert(message.end(), ids.begin(), ids.end());
  message.push_back(eos_);
  return message;
}

ChatDialogue::Entry ChatDialogue::entry(ChatRole role, std::string_view text) const {
  ChatMessage message{role, std::string(text)};
  std::vector<int32_t> ids = encode(message);
  return {std::move(message), std::move(ids), first_};
}

void ChatDialogue::say(std::string_view text) {
  if (text.empty()) throw InputError({.what = "empty message", .expected = "some text to answer"});
  entries_.push_back(entry(ChatRole::user, text));
}

Prompt ChatDialogue::prompt() const {
  if (!waiting()) throw InputError({.what = "nothing to answer", .expected = "a message of the user"});
  std::vector<int32_t> ids{bos_};
  ids.insert(ids.end(), system_.ids.begin(), system_.ids.end());
  for (size_t i = first_; i < entries_.size(); ++i) {
    ids.insert(ids.end(), entries_[i].ids.begin(), entries_[i].ids.end());
  }
  return Prompt::answer(ids, chat_.opening());
}

void ChatDialogue::answer(const TextGeneration& written) {
  entries_.push_back({{ChatRole::assistant, written.text}, encode_written(written), first_});
}

int64_t ChatDialogue::turns() const {
  return std::count_if(entries_.begin(), entries_.end(),
                       [](const Entry& each) { return each.message.role == ChatRole::user; });
}

std::optional<std::string> ChatDialogue::undo() {
  auto user = std::find_if(entries_.rbegin(), entries_.rend(),
                           [](const Entry& each) { return each.message.role == ChatRole::user; });
  if (user == entries_.rend()) return std::nullopt;
  std::string said = user->message.content;
  first_ = user->first;
  entries_.erase(user.base() - 1, entries_.end());
  return said;
}

bool ChatDialogue::retract() {
  if (entries_.empty() || entries_.back().message.role != ChatRole::assistant) return false;
  // Only what was asked can be answered again.
  if (entries_.size() < 2 || entries_[entries_.size() - 2].message.role != ChatRole::user) return false;
  entries_.pop_back();
  return true;
}

void ChatDialogue::clear() {
  entries_.clear();
  first_ = 0;
}

int64_t ChatDialogue::prompt_tokens(size_t first) const {
  size_t tokens = 2 + system_.ids.size();  // BOS, and the one that opens the answer
  for (size_t i = first; i < entries_.size(); ++i) tokens += entries_[i].ids.size();
  return static_cast<int64_t>(tokens);
}

std::string ChatDialogue::shorten(int64_t most) {
  int64_t dropped = 0;
  size_t first = first_;
  for (size_t i = first_ + 1; i < entries_.size() && prompt_tokens(first) > most; ++i) {
    if (entries_[i].message.role != ChatRole::user) continue;  // a prompt begins with a user's message
    first = i;
    ++dropped;
  }
  first_ = first;
  if (dropped == 0) return "";
  return fmt::format("the oldest {}", dropped == 1 ? "turn" : fmt::format("{} turns", dropped));
}

void ChatDialogue::set_system(std::string_view text) {
  system_ = text.empty() ? Entry{} : entry(ChatRole::system, text);
}

std::vector<ChatMessage> ChatDialogue::messages() const {
  std::vector<ChatMessage> all;
  if (!system_.ids.empty()) all.push_back(system_.message);
  for (const Entry& each : entries_) all.push_back(each.message);
  return all;
}

void ChatDialogue::load(std::span<const ChatMessage> messages) {
  Entry system;
  std::vector<Entry> entries;
  for (size_t i = 0; i < messages.size(); ++i) {
    Entry each{messages[i], encode(messages[i])};
    if (i == 0 && messages[i].role == ChatRole::system) {
      system = std::move(each);
    } else {
      entries.push_back(std::move(each));
    }
  }
  system_ = std::move(system);
  entries_ = std::move(entries);
  first_ = 0;
}

}  // namespace tandem
