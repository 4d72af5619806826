#include "eval/answers.h"

#include <algorithm>

#include "eval/text_match.h"
#include "infer/text_generation.h"

namespace tandem {
namespace {

double mean(double sum, int64_t n) { return n > 0 ? sum / static_cast<double>(n) : 0; }

// Number of messages up to the last answer, that one included; 0 when there is none.
size_t through_last_answer(const std::vector<ChatMessage>& messages) {
  size_t n = messages.size();
  while (n > 0 && messages[n - 1].role != ChatRole::assistant) --n;
  return n;
}

}  // namespace

double AnswerResult::exact_share() const { return mean(static_cast<double>(exact), asked); }
double AnswerResult::mean_f1() const { return mean(f1, asked); }
double AnswerResult::mean_rouge_l() const { return mean(rouge_l, asked); }
double AnswerResult::ended_share() const { return mean(static_cast<double>(ended), asked); }

AnswerResult evaluate_answers(Generator& generator, const Model& model, const Tokenizer& tokenizer,
                              const ChatTemplate& chat, int32_t eos,
                              const std::vector<std::vector<ChatMessage>>& conversations, int64_t most,
                              const std::function<void(size_t index, const Answer&)>& on_answer) {
  GenerationOptions options;
  options.max_tokens = most;
  options.eos = {eos};
  AnswerResult result;
  for (size_t i = 0; i < conversations.size(); ++i) {
    const std::vector<ChatMessage>& messages = conversations[i];
    size_t n = through_last_answer(messages);
    std::vector<int32_t> read;
    if (n > 0) read = chat.prompt(std::span(messages).first(n - 1));
    if (n == 0 || static_cast<int64_t>(read.size()) + 1 >= model.config().max_seq_len) {
      ++result.skipped;
      continue;
    }
    Prompt prompt = Prompt::answer(read, chat.opening());
    TextGeneration written = generate_text(generator, tokenizer, prompt, options, {});
    Answer answer{.written = written.text, .expected = messages[n - 1].content};
    std::vector<std::string> words = match_words(answer.written), expected = match_words(answer.expected);
    answer.exact = exact_match(words, expected);
    answer.f1 = word_f1(words, expected);
    ++result.asked;
    result.ended += written.tokens.finish_reason == FinishReason::eos;
    result.exact += answer.exact;
    result.f1 += answer.f1;
    result.rouge_l += rouge_l(words, expected);
    result.tokens += static_cast<int64_t>(written.tokens.ids.size());
    if (on_answer) on_answer(i, answer);
  }
  return result;
}

}  // namespace tandem
