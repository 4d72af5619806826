#include "text/chat_template.h"

#include <algorithm>
#include <array>

#include "base/error.h"

namespace tandem {
namespace {

constexpr std::array<std::string_view, 3> kRoleNames{"system", "user", "assistant"};

[[noreturn]] void missing_token(const std::string& token, std::string_view role) {
  throw InputError({.what = fmt::format("tokenizer without a token for the role '{}'", role),
                    .got = "no '" + token + "'",
                    .expected = "a token of the tokenizer",
                    .hint = fmt::format("name one with data.{}_token", role)});
}

}  // namespace

std::string_view chat_role_name(ChatRole role) { return kRoleNames[static_cast<size_t>(role)]; }

std::optional<ChatRole> find_chat_role(std::string_view name) {
  for (size_t i = 0; i < kRoleNames.size(); ++i) {
    if (kRoleNames[i] == name) return static_cast<ChatRole>(i);
  }
  return std::nullopt;
}

ChatTemplate::ChatTemplate(const Tokenizer& tokenizer, const ChatTokenNames& names, int32_t bos, int32_t eos)
    : tokenizer_(tokenizer), names_(names), bos_(bos), eos_(eos) {
  std::vector<std::string> tokens = names.all();
  for (size_t i = 0; i < tokens.size(); ++i) {
    role_ids_[i] = tokenizer.token_to_id(tokens[i]).value_or(-1);
    bool needed = static_cast<ChatRole>(i) != ChatRole::system;
    if (needed && role_ids_[i] < 0) missing_token(tokens[i], kRoleNames[i]);
    for (size_t j = 0; j < i; ++j) {
      if (tokens[j] != tokens[i]) continue;
      throw InputError({.what = "one token for two roles",
                        .got = fmt::format("'{}' for {} and {}", tokens[i], kRoleNames[j], kRoleNames[i])});
    }
  }
}

void ChatTemplate::append(const ChatMessage& message, RenderedChat& chat) const {
  int32_t role_id = role_ids_[static_cast<size_t>(message.role)];
  if (role_id < 0) missing_token(names_.system, chat_role_name(message.role));
  chat.ids.push_back(role_id);
  for (int32_t id : tokenizer_.encode_plain(message.content)) {
    // A vocabulary may spell a role's token by its ordinary rules; reading it as one would let a text change roles.
    bool reserved = id == bos_ || id == eos_ || std::find(role_ids_, role_ids_ + 3, id) != role_ids_ + 3;
    if (reserved) {
      throw InputError({.what = "message whose encoding holds a token of the chat template",
                        .got = "'" + tokenizer_.id_to_token(id) + "'",
                        .hint = "give the role tokens other names than words of the text"});
    }
    chat.ids.push_back(id);
  }
  bool answer = message.role == ChatRole::assistant;
  if (answer) chat.ids.push_back(eos_);
  chat.roles.resize(chat.ids.size(), answer ? Role::response : Role::prompt);
}

RenderedChat ChatTemplate::render(std::span<const ChatMessage> messages) const {
  RenderedChat chat{.ids = {bos_}, .roles = {Role::prompt}};
  for (const ChatMessage& message : messages) append(message, chat);
  return chat;
}

std::vector<int32_t> ChatTemplate::prompt(std::span<const ChatMessage> messages) const { return render(messages).ids; }

}  // namespace tandem
