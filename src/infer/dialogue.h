// A text that a person and a model write in turns, as the tokens that the model reads. What was read or written stays,
// token by token, what it was: an engine that keeps prefixes reads only what is new.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "infer/text_generation.h"

namespace tandem {

// A call that throws InputError leaves the dialogue as it was.
class Dialogue {
 public:
  virtual ~Dialogue() = default;

  // What the person says: a new turn. InputError for text that is not UTF-8, or empty where something must be said.
  virtual void say(std::string_view text) = 0;
  // What the model reads before it writes. InputError when there is nothing to answer.
  virtual Prompt prompt() const = 0;
  // Tokens behind which the model's part is over.
  virtual std::vector<int32_t> ends() const = 0;
  // What the model wrote.
  virtual void answer(const TextGeneration& written) = 0;

  virtual int64_t turns() const = 0;
  virtual bool waiting() const = 0;  // the last turn has no answer yet
  // Forgets the last turn, answer included, and returns what was said; nothing when there is none.
  virtual std::optional<std::string> undo() = 0;
  // Forgets the answer of the last turn: prompt() asks for it again. False when there is none.
  virtual bool retract() = 0;
  virtual void clear() = 0;

  // Leaves the oldest parts out of the prompt, as few as make it at most `most` tokens long or, where that cannot be,
  // as many as can be. They are read again once the turn in which this was done is undone. Returns what is left out
  // from now on, in words; empty: nothing more than before.
  virtual std::string shorten(int64_t most) = 0;
};

enum class OnFull {
  stop,  // a text that has outgrown the model's rows is an InputError
  drop,  // its oldest parts are left out
};

// To be called before prompt() is answered. With OnFull::drop, when an answer of `answer_tokens` (or of a quarter of
// the rows, if that is less) has no room, the dialogue is shortened to half of the rows: by less, it would have to be
// shortened in every turn, and all that is left would be read again each time. Returns what is left out from now on.
// InputError when the prompt is longer than the rows all the same.
std::string make_room(Dialogue& dialogue, int64_t max_seq_len, int64_t answer_tokens, OnFull on_full);

}  // namespace tandem
