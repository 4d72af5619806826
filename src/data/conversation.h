// Conversations out of JSON lines: {"prompt": ..., "response": ...} or {"messages": [{"role": ..., "content": ...}]}.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/json_fwd.h"
#include "text/chat_template.h"

namespace tandem {

// What a record of this kind holds, in words for error messages.
inline constexpr const char* kConversationKeys = "\"prompt\" and \"response\", or \"messages\"";

// Has one of the keys by which conversations are known.
bool is_conversation(const Json& record);

// The messages of a record, of which one at least is the assistant's. Other keys are ignored. InputError, naming
// `where` and the key: both forms at once, or neither; a key that is missing or no text; a role other than system, user
// and assistant; nobody answers.
std::vector<ChatMessage> parse_conversation(const Json& record, const std::string& where);

// Of roles and texts: the same for both forms of a record, whatever else it holds.
uint64_t hash_conversation(std::span<const ChatMessage> messages);

}  // namespace tandem
