// Conversations as tokens: the one place that says how training, generation and serving write them.
//
//   BOS <system> TEXT <user> TEXT <assistant> TEXT EOS <user> TEXT <assistant> TEXT EOS ...
//
// Each message is the token of its role and its text; an answer ends in EOS. Texts are encoded apart from each other,
// as tokenizers of the Hugging Face kind do around special tokens, and special tokens that are written in them are
// plain text: no message can open another role.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "text/batch.h"
#include "text/tokenizer.h"

namespace tandem {

enum class ChatRole : uint8_t { system, user, assistant };

std::string_view chat_role_name(ChatRole role);
std::optional<ChatRole> find_chat_role(std::string_view name);

struct ChatMessage {
  ChatRole role = ChatRole::user;
  std::string content;  // UTF-8
};

// The names of the role tokens, by default those of the double decoder authors' tokenizer; it has no <system>.
struct ChatTokenNames {
  std::string system = "<system>";
  std::string user = "<user>";
  std::string assistant = "<assistant>";

  std::vector<std::string> all() const { return {system, user, assistant}; }
};

// Ids with the role of each: prompt, or response (the assistant's token, the answer, its EOS).
struct RenderedChat {
  std::vector<int32_t> ids;
  std::vector<Role> roles;
};

class ChatTemplate {
 public:
  // `tokenizer` must outlive the template. InputError when it lacks the token of the user or the assistant, or when two
  // roles share one. The system's token may be missing as long as no message needs it.
  ChatTemplate(const Tokenizer& tokenizer, const ChatTokenNames& names, int32_t bos, int32_t eos);

  // A whole conversation. InputError: a system message without a token for it, a text that is not UTF-8 or whose
  // encoding holds a token of this template.
  RenderedChat render(std::span<const ChatMessage> messages) const;

  // What a model reads before it answers: all of the messages, without the token that opens the answer. Errors as
  // above.
  std::vector<int32_t> prompt(std::span<const ChatMessage> messages) const;
  // The token that opens an answer.
  int32_t opening() const { return role_ids_[static_cast<size_t>(ChatRole::assistant)]; }

 private:
  void append(const ChatMessage& message, RenderedChat& chat) const;

  const Tokenizer& tokenizer_;
  ChatTokenNames names_;
  int32_t bos_;
  int32_t eos_;
  int32_t role_ids_[3];  // by ChatRole; -1: none
};

}  // namespace tandem
