#include "eval_answers.h"

#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "data/corpus.h"
#include "eval/answers.h"

namespace tandem::app {
namespace {

using Conversations = std::vector<std::vector<ChatMessage>>;

Conversations read_conversations(const AnswerOptions& options, bool heldout_only) {
  DataConfig data;
  data.sources = options.files;
  data.records = Records::conversations;
  Conversations all;
  Corpus(data).for_each([&](const CorpusDocument& document) {
    if (heldout_only && document.part != CorpusPart::kHeldOut) return;
    all.emplace_back(document.messages.begin(), document.messages.end());
  });
  auto most = static_cast<size_t>(options.items);
  if (most == 0 || most >= all.size()) return all;
  // Spread evenly, so that a few items stand for all files.
  Conversations some;
  for (size_t i = 0; i < most; ++i) some.push_back(std::move(all[i * all.size() / most]));
  return some;
}

}  // namespace

void add_answer_options(CLI::App& verb, AnswerOptions& options) {
  verb.add_option("--answers", options.files, "JSONL of prompt and response, or of messages: write the last answers")
      ->expected(1, -1);
  verb.add_option("--answer-items", options.items, "Ask at most so many, spread evenly; 0: all")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 40))
      ->capture_default_str();
  verb.add_option("--answer-tokens", options.max_tokens, "Most tokens of an answer")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20))
      ->capture_default_str();
  verb.add_option("--answer-show", options.show, "Show so many answers beside the expected ones")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 20))
      ->capture_default_str();
}

OrderedJson score_answers(Context& ctx, const LoadedModel& loaded, const AnswerOptions& options, bool heldout_only) {
  Conversations conversations = read_conversations(options, heldout_only);
  ChatTemplate chat(loaded.tokenizer, ChatTokenNames(), loaded.document_tokens.bos, loaded.document_tokens.eos);
  Generator generator(ctx, *loaded.model);
  int64_t shown = 0;
  auto show = [&](size_t index, const Answer& answer) {
    if (shown++ >= options.show) return;
    std::string question;
    for (const ChatMessage& message : conversations[index]) {
      if (message.role == ChatRole::user) question = message.content;
    }
    log::info("question: {}\nexpected: {}\nwritten:  {}\n", question, answer.expected, answer.written);
  };
  AnswerResult r = evaluate_answers(generator, *loaded.model, loaded.tokenizer, chat, loaded.document_tokens.eos,
                                    conversations, options.max_tokens, show);
  OrderedJson scores{{"asked", r.asked}, {"skipped", r.skipped}, {"tokens", r.tokens}};
  for (auto [name, value] : {std::pair{"exact_match", r.exact_share()}, std::pair{"word_f1", r.mean_f1()},
                             std::pair{"rouge_l", r.mean_rouge_l()}, std::pair{"ended", r.ended_share()}}) {
    scores[name] = r.asked > 0 ? OrderedJson(value) : OrderedJson(nullptr);
  }
  return scores;
}

std::string answer_report(const OrderedJson& scores) {
  if (scores["exact_match"].is_null()) return "answers        no question fits into the model's rows\n";
  return fmt::format("answers        {:.1f} % exact, word F1 {:.3f}, ROUGE-L {:.3f} of {}; {:.1f} % ended\n",
                     100 * scores["exact_match"].get<double>(), scores["word_f1"].get<double>(),
                     scores["rouge_l"].get<double>(), scores["asked"].get<int64_t>(),
                     100 * scores["ended"].get<double>());
}

}  // namespace tandem::app
