#include "eval/memory.h"

#include <algorithm>

#include "base/error.h"
#include "base/json.h"
#include "data/synthetic.h"
#include "eval/likelihood.h"

namespace tandem {
namespace {

constexpr int64_t kTextsPerCall = 64;

struct Question {
  std::string context, text;
  Continuation continuation;
  std::vector<TokenRange> answers;  // tokens of the continuation
};

// The tokens of each word of a text. Words are not encoded one by one: some tokenizers begin a text in another way than
// they go on.
std::vector<TokenRange> word_tokens(const Tokenizer& tokenizer, const std::vector<std::string>& words,
                                    const std::vector<int32_t>& ids) {
  std::vector<TokenRange> ranges;
  std::string text;
  int64_t end = 0;
  for (const std::string& word : words) {
    text += word;
    std::vector<int32_t> beginning = tokenizer.encode(text);
    auto count = static_cast<int64_t>(beginning.size());
    if (count <= end || count > static_cast<int64_t>(ids.size()) ||
        !std::equal(beginning.begin(), beginning.end(), ids.begin())) {
      throw InputError({.what = "the tokenizer joins words, which copying and recall cannot be scored with",
                        .got = fmt::format("tokens across the end of '{}'", text.substr(0, 80)),
                        .expected = "tokens that end where words end"});
    }
    ranges.push_back({end, count});
    end = count;
  }
  return ranges;
}

Question question_of(const Subject& subject, const MemoryTask& task) {
  std::vector<int32_t> ids = subject.tokenizer.encode(task.text());
  std::vector<TokenRange> words = word_tokens(subject.tokenizer, task.words, ids);
  auto first = words[task.answers.front()].begin;
  Question question;
  if (subject.bos >= 0) question.continuation.context.push_back(subject.bos);
  question.continuation.context.insert(question.continuation.context.end(), ids.begin(), ids.begin() + first);
  question.continuation.tokens.assign(ids.begin() + first, ids.end());
  for (size_t answer : task.answers)
    question.answers.push_back({words[answer].begin - first, words[answer].end - first});
  for (size_t i = 0; i < task.words.size(); ++i) {
    (i < task.answers.front() ? question.context : question.text) += task.words[i];
  }
  return question;
}

bool right(const ContinuationScore& score, const TokenRange& word) {
  return std::all_of(score.tokens.begin() + word.begin, score.tokens.begin() + word.end,
                     [](const TokenScore& token) { return token.largest; });
}

const char* name_of(MemoryKind kind) { return kind == MemoryKind::copy ? "copy" : "mqar"; }
const char* size_name(MemoryKind kind) { return kind == MemoryKind::copy ? "letters" : "pairs"; }

class Asking {
 public:
  Asking(const Subject& subject, const MemoryOptions& options, const EvalHooks& hooks)
      : subject_(subject), options_(options), hooks_(hooks) {
    total_ = static_cast<int64_t>(options.sizes.size()) * options.trials;
  }

  MemoryCell ask(int64_t size) {
    MemoryCell cell{.size = size};
    std::vector<Question> waiting;
    for (int64_t trial = 0; trial < options_.trials; ++trial) {
      // A stream of its own for each text: what is asked does not depend on the other sizes, and no training text
      // comes from it.
      Rng rng(options_.seed, static_cast<uint64_t>(SyntheticSplit::kQuestions) << 60 |
                                 static_cast<uint64_t>(size) << 32 | static_cast<uint64_t>(trial));
      Question question = question_of(subject_, make_memory_task(options_.kind, size, rng));
      if (!fits(subject_.model, question.continuation)) {
        ++cell.skipped;
        ++done_;
        continue;
      }
      waiting.push_back(std::move(question));
      if (static_cast<int64_t>(waiting.size()) == kTextsPerCall) score(cell, waiting);
    }
    score(cell, waiting);
    return cell;
  }

 private:
  void score(MemoryCell& cell, std::vector<Question>& waiting) {
    std::vector<Continuation> continuations;
    for (Question& question : waiting) continuations.push_back(std::move(question.continuation));
    std::vector<ContinuationScore> scores =
        score_continuations(subject_.model, subject_.tape, continuations,
                            [&](size_t done) { hooks_.done(done_ + static_cast<int64_t>(done), total_); });
    for (size_t i = 0; i < waiting.size(); ++i) add(cell, waiting[i], scores[i]);
    done_ += static_cast<int64_t>(waiting.size());
    waiting.clear();
  }

  void add(MemoryCell& cell, const Question& question, const ContinuationScore& score) {
    Share words;
    for (const TokenRange& answer : question.answers) words.add(right(score, answer));
    bool whole = words.hits == words.of;
    ++cell.items;
    cell.words.add(words);
    cell.whole.add(whole);
    if (!hooks_.item) return;
    hooks_.item({{"task", name_of(options_.kind)},
                 {size_name(options_.kind), cell.size},
                 {"context", question.context},
                 {"text", question.text},
                 {"log_probability", score.log_probability},
                 {"right", words.hits},
                 {"of", words.of},
                 {"correct", whole}});
  }

  const Subject& subject_;
  const MemoryOptions& options_;
  const EvalHooks& hooks_;
  int64_t total_ = 0;
  int64_t done_ = 0;
};

OrderedJson share_json(const Share& words, const Share& whole) {
  if (words.of == 0) return {{"accuracy", nullptr}, {"standard_error", nullptr}, {"whole", nullptr}};
  return {{"accuracy", words.value()},
          {"standard_error", words.standard_error()},
          {"whole", whole.value()},
          {"whole_standard_error", whole.standard_error()}};
}

}  // namespace

Share MemoryResult::words() const {
  Share all;
  for (const MemoryCell& cell : cells) all.add(cell.words);
  return all;
}

Share MemoryResult::whole() const {
  Share all;
  for (const MemoryCell& cell : cells) all.add(cell.whole);
  return all;
}

MemoryResult evaluate_memory(const Subject& subject, const MemoryOptions& options, const EvalHooks& hooks) {
  MemoryResult result{.kind = options.kind};
  Asking asking(subject, options, hooks);
  for (int64_t size : options.sizes) result.cells.push_back(asking.ask(size));
  return result;
}

OrderedJson to_json(const MemoryResult& result) {
  int64_t items = 0, skipped = 0;
  for (const MemoryCell& cell : result.cells) {
    items += cell.items;
    skipped += cell.skipped;
  }
  OrderedJson json{{"name", name_of(result.kind)}, {"items", items}, {"skipped", skipped}, {"chance", 0}};
  json.update(share_json(result.words(), result.whole()));
  json["cells"] = OrderedJson::array();
  for (const MemoryCell& cell : result.cells) {
    OrderedJson each{{size_name(result.kind), cell.size}, {"items", cell.items}, {"skipped", cell.skipped}};
    each.update(share_json(cell.words, cell.whole));
    json["cells"].push_back(std::move(each));
  }
  return json;
}

}  // namespace tandem
