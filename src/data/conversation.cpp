#include "data/conversation.h"

#include <algorithm>

#include "base/error.h"
#include "base/hash.h"
#include "base/json.h"

namespace tandem {
namespace {

ChatMessage parse_message(const Json& message, const std::string& where) {
  if (!message.is_object()) {
    throw InputError({.what = "bad message", .where = where, .expected = "an object with \"role\" and \"content\""});
  }
  std::string name = json_string(message, "role", where);
  std::optional<ChatRole> role = find_chat_role(name);
  if (!role) {
    throw InputError(
        {.what = "unknown role", .where = where, .got = "'" + name + "'", .expected = "system, user or assistant"});
  }
  return {*role, json_string(message, "content", where)};
}

}  // namespace

bool is_conversation(const Json& record) { return record.contains("messages") || record.contains("prompt"); }

std::vector<ChatMessage> parse_conversation(const Json& record, const std::string& where) {
  auto list = record.find("messages");
  if (list == record.end()) {
    if (!record.contains("prompt") && !record.contains("response")) {
      throw InputError({.what = "record without a conversation", .where = where, .expected = kConversationKeys});
    }
    return {{ChatRole::user, json_string(record, "prompt", where)},
            {ChatRole::assistant, json_string(record, "response", where)}};
  }
  if (record.contains("prompt") || record.contains("response")) {
    throw InputError({.what = "record with two conversations", .where = where, .expected = kConversationKeys});
  }
  if (!list->is_array()) {
    throw InputError({.what = "bad 'messages'", .where = where, .got = list->type_name(), .expected = "a list"});
  }
  std::vector<ChatMessage> messages;
  for (size_t i = 0; i < list->size(); ++i) {
    messages.push_back(parse_message((*list)[i], fmt::format("{}, messages[{}]", where, i)));
  }
  bool answered = std::any_of(messages.begin(), messages.end(),
                              [](const ChatMessage& message) { return message.role == ChatRole::assistant; });
  if (!answered) {
    throw InputError({.what = "conversation without an answer",
                      .where = where,
                      .got = fmt::format("{} messages", messages.size()),
                      .expected = "a message of the assistant"});
  }
  return messages;
}

uint64_t hash_conversation(std::span<const ChatMessage> messages) {
  Hash64 hash;
  for (const ChatMessage& message : messages) {
    hash.add_number(static_cast<uint64_t>(message.role));
    hash.add_sized(message.content);
  }
  return hash.value();
}

}  // namespace tandem
