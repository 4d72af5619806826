// A plain text that grows by turns: somebody writes a piece, the model goes on.
#pragma once

#include <utility>

#include "infer/dialogue.h"

namespace tandem {

class TextDialogue final : public Dialogue {
 public:
  // The tokenizer must outlive the dialogue. `ends`: tokens behind which the model's part is over.
  TextDialogue(const Tokenizer& tokenizer, int32_t bos, std::vector<int32_t> ends)
      : tokenizer_(tokenizer), bos_(bos), ends_(std::move(ends)) {}

  // Appends to the text. Nothing to append: the model goes on by itself, unless there is no text yet.
  void say(std::string_view text) override;
  Prompt prompt() const override;
  std::vector<int32_t> ends() const override { return ends_; }
  void answer(const TextGeneration& written) override;
  int64_t turns() const override { return static_cast<int64_t>(before_.size()); }
  bool waiting() const override { return !before_.empty() && !before_.back().answered; }
  std::optional<std::string> undo() override;
  bool retract() override;
  void clear() override;
  std::string shorten(int64_t most) override;

  const std::string& text() const { return now_.text; }  // all of it, what is left out of the prompt included
  void load(std::string_view text);                      // instead of what there was. InputError: not UTF-8, empty

 private:
  struct Content {
    std::string text;
    std::vector<int32_t> ids;  // without BOS
    size_t first = 0;          // ids before it are left out of the prompt
  };
  struct Turn {
    Content before;  // what was there when it began
    Content asked;   // with what was said; set once it is answered
    std::string said;
    bool answered = false;
  };
  std::vector<int32_t> encode(std::string_view text) const;
  void append(std::string_view text);

  const Tokenizer& tokenizer_;
  int32_t bos_;
  std::vector<int32_t> ends_;
  Content now_;
  std::vector<Turn> before_;
};

}  // namespace tandem
