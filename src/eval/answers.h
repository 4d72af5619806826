// Written answers to the last question of conversations, scored against the recorded ones.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "infer/generator.h"
#include "text/chat_template.h"

namespace tandem {

// Sums over the conversations that were asked.
struct AnswerResult {
  int64_t asked = 0;
  int64_t skipped = 0;  // whose prompt leaves no room for an answer in the model's rows, or that end without an answer
  int64_t ended = 0;    // answers that the model ended itself
  int64_t exact = 0;
  double f1 = 0;
  double rouge_l = 0;
  int64_t tokens = 0;  // written

  // Means over what was asked, 0..1; 0 when nothing was.
  double exact_share() const;
  double mean_f1() const;
  double mean_rouge_l() const;
  double ended_share() const;
};

struct Answer {
  std::string written;
  std::string expected;
  bool exact = false;
  double f1 = 0;
};

// The model reads all messages before the last one, opens the answer and writes greedily until it ends it or `most`
// tokens stand there. Messages behind the last answer are left out. `on_answer` gets each answer with the number of its
// conversation. Errors of ChatTemplate::render.
AnswerResult evaluate_answers(Generator& generator, const Model& model, const Tokenizer& tokenizer,
                              const ChatTemplate& chat, int32_t eos,
                              const std::vector<std::vector<ChatMessage>>& conversations, int64_t most,
                              const std::function<void(size_t index, const Answer&)>& on_answer = {});

}  // namespace tandem
