// Short answers that a model writes by itself, compared with what they should be.
#pragma once

#include <string>
#include <vector>

#include "eval/subject.h"

namespace tandem {

struct WrittenQuestion {
  std::vector<int32_t> prompt;  // a text that the model continues
  std::string expected;         // without white space around it
};

struct WrittenAnswer {
  std::string text;    // without white space around it
  bool right = false;  // text == expected
};

// Greedy decoding, many questions at once. An answer ends at a line break or EOS, at the end of the model's rows, and
// as soon as it is longer than what is expected, for then it is wrong.
// With packed weights an answer does not depend on the other questions. InputError as Engine::submit().
std::vector<WrittenAnswer> write_answers(const Subject& subject, const std::vector<WrittenQuestion>& questions,
                                         const EvalHooks& hooks = {});

}  // namespace tandem
