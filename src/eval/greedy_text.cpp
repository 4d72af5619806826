#include "eval/greedy_text.h"

#include <memory>

#include "base/error.h"
#include "base/trimmed.h"
#include "infer/engine.h"
#include "text/detokenizer.h"

namespace tandem {
namespace {

constexpr int64_t kSequences = 32;
// Tokens beyond one for each byte of the answer: white space before it, bytes of a character that is cut.
constexpr int64_t kSpareTokens = 8;

// Up to a line break; false when more can follow.
bool first_line(std::string& text) {
  size_t end = text.find('\n');
  if (end == std::string::npos) return false;
  text.resize(end);
  return true;
}

// One answer on its way.
struct Writing {
  Detokenizer detokenizer;
  std::string text;
};

GenerationRequest request_for(const Subject& subject, const WrittenQuestion& question, Writing& writing) {
  GenerationRequest request{.prompt = Prompt::continue_text(question.prompt)};
  request.options.max_tokens = static_cast<int64_t>(question.expected.size()) + kSpareTokens;
  if (subject.eos >= 0) request.options.eos = {subject.eos};
  request.on_token = [&](int64_t, int32_t id) {
    // An untrained id that the tokenizer lacks stands for no text.
    if (id < subject.tokenizer.vocab_size()) writing.text += writing.detokenizer.push(id);
    if (first_line(writing.text)) return Next::stop;
    return trimmed(writing.text).size() > question.expected.size() ? Next::stop : Next::go_on;
  };
  return request;
}

}  // namespace

std::vector<WrittenAnswer> write_answers(const Subject& subject, const std::vector<WrittenQuestion>& questions,
                                         const EvalHooks& hooks) {
  EngineOptions options{.step_tokens = 2048, .most_sequences = kSequences, .reuse_prefixes = false};
  options.cache.tokens = kSequences * (subject.model.config().max_seq_len + 2 * kPageTokens);
  Engine engine(subject.tape.context(), subject.model, options);
  std::vector<Writing> writing;
  writing.reserve(questions.size());
  std::vector<Engine::Ticket> tickets;
  for (const WrittenQuestion& question : questions) {
    writing.push_back({Detokenizer(subject.tokenizer, /*skip_special=*/true), ""});
    tickets.push_back(engine.submit(request_for(subject, question, writing.back())));
  }
  std::vector<WrittenAnswer> answers(questions.size());
  auto total = static_cast<int64_t>(questions.size());
  for (size_t i = 0; i < questions.size(); ++i) {
    std::optional<GenerationResult> result;
    while (!(result = engine.take(tickets[i])) && engine.step()) hooks.done(static_cast<int64_t>(i), total);
    if (!result) result = engine.take(tickets[i]);
    if (!result) throw LogicError({.what = "write_answers: a request was lost"});
    if (!result->error.empty()) throw InputError({.what = result->error});
    std::string& text = writing[i].text;
    text += writing[i].detokenizer.finish();
    first_line(text);
    answers[i].text = trimmed(text);
    answers[i].right = answers[i].text == questions[i].expected;
  }
  hooks.done(total, total);
  return answers;
}

}  // namespace tandem
