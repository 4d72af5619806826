// A conversation with a chat model.
#pragma once

#include <span>

#include "infer/dialogue.h"
#include "text/chat_template.h"

namespace tandem {

class ChatDialogue final : public Dialogue {
 public:
  // The tokenizer must outlive the dialogue. `ends`: tokens behind which an answer is over; the first, EOS, ends it
  // when it is read again. InputError as ChatTemplate's constructor.
  ChatDialogue(const Tokenizer& tokenizer, const ChatTokenNames& names, int32_t bos, std::vector<int32_t> ends);

  void say(std::string_view text) override;
  Prompt prompt() const override;
  std::vector<int32_t> ends() const override { return ends_; }  // and the tokens that open a message
  void answer(const TextGeneration& written) override;
  int64_t turns() const override;
  bool waiting() const override { return !entries_.empty() && entries_.back().message.role == ChatRole::user; }
  std::optional<std::string> undo() override;
  bool retract() override;
  void clear() override;  // the system message stays
  std::string shorten(int64_t most) override;

  // The message at the beginning, which shortening leaves in; empty: none. InputError when the model has no role for
  // it.
  void set_system(std::string_view text);
  std::string system() const { return system_.message.content; }

  // All of it, what is left out of the prompt included.
  std::vector<ChatMessage> messages() const;
  // Instead of what there was, system message included. InputError as ChatTemplate::render().
  void load(std::span<const ChatMessage> messages);

 private:
  struct Entry {
    ChatMessage message;
    std::vector<int32_t> ids;
    size_t first = 0;  // first_ when it was said
  };
  Entry entry(ChatRole role, std::string_view text) const;
  std::vector<int32_t> encode(const ChatMessage& message) const;
  std::vector<int32_t> encode_written(const TextGeneration& written) const;
  int64_t prompt_tokens(size_t first) const;

  const Tokenizer& tokenizer_;
  ChatTemplate chat_;
  int32_t bos_;
  int32_t eos_;
  std::vector<int32_t> ends_;
  Entry system_;
  std::vector<Entry> entries_;
  size_t first_ = 0;  // entries before it are left out of the prompt
};

}  // namespace tandem
