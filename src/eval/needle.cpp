#include "eval/needle.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>

#include "base/error.h"
#include "base/hash.h"
#include "base/json.h"

namespace tandem {
namespace {

constexpr std::array<std::string_view, 12> kCities{"Paris",  "London", "Berlin", "Rome",   "Madrid", "Vienna",
                                                   "Oxford", "Dublin", "Athens", "Lisbon", "Moscow", "Cairo"};
constexpr int kDigits = 5;
// How far a place may move to the end of a sentence.
constexpr size_t kNear = 64;
constexpr int64_t kShortestHaystack = 8;
constexpr size_t kTrialsPerCall = 16;

// " 4 0 7 1 9": digits apart, so that most tokenizers give every code as many tokens.
std::string draw_code(Rng& rng) {
  std::string code;
  for (int i = 0; i < kDigits; ++i) code += {' ', static_cast<char>('0' + rng.below(10))};
  return code;
}

std::string sentence(std::string_view city) { return fmt::format("The secret code of {} is", city); }

bool ends_sentence(const std::string& text) {
  size_t last = text.find_last_not_of(" \n\"')");
  return last != std::string::npos && std::string_view(".!?").find(text[last]) != std::string_view::npos;
}

// Enough of a text to choose stretches of `tokens` tokens from; a long text need not be encoded as a whole.
std::string_view beginning(std::string_view text, int64_t tokens) {
  size_t bytes = std::min(text.size(), static_cast<size_t>(200 * tokens + 65536));
  while (bytes < text.size() && (static_cast<unsigned char>(text[bytes]) & 0xC0) == 0x80) ++bytes;
  return text.substr(0, bytes);
}

class Searching {
 public:
  Searching(const Subject& subject, const std::string& text, const NeedleOptions& options, const EvalHooks& hooks)
      : subject_(subject), options_(options), hooks_(hooks) {
    int64_t rows = subject.model.config().max_seq_len;
    for (int64_t length : options.lengths) (length <= rows ? result_.lengths : result_.too_long).push_back(length);
    if (result_.lengths.empty()) {
      throw InputError({.what = "no needle fits into the model's rows",
                        .got = fmt::format("{} tokens", fmt::join(options.lengths, ", ")),
                        .expected = fmt::format("at most {} (max_seq_len)", rows)});
    }
    result_.depths = options.depths;
    result_.codes = options.distractors + 1;
    int64_t longest = *std::max_element(result_.lengths.begin(), result_.lengths.end());
    maker_.emplace(subject.tokenizer, subject.bos, text, options, longest);
  }

  NeedleResult run() {
    for (int64_t length : result_.lengths) {
      for (double depth : result_.depths) result_.cells.push_back({.length = length, .depth = depth});
    }
    total_ = static_cast<int64_t>(result_.cells.size()) * options_.trials;
    for (size_t cell = 0; cell < result_.cells.size(); ++cell) {
      for (int64_t number = 0; number < options_.trials; ++number) {
        const NeedleCell& asked = result_.cells[cell];
        waiting_.push_back({cell, number, maker_->make(asked.length, asked.depth, number)});
        if (waiting_.size() == kTrialsPerCall) score();
      }
    }
    score();
    return std::move(result_);
  }

 private:
  struct Waiting {
    size_t cell = 0;
    int64_t number = 0;
    NeedleTrial trial;
  };

  void score() {
    std::vector<Continuation> all;
    for (const Waiting& each : waiting_) {
      all.insert(all.end(), each.trial.continuations.begin(), each.trial.continuations.end());
    }
    auto codes = static_cast<size_t>(result_.codes);
    std::vector<ContinuationScore> scores = score_continuations(subject_.model, subject_.tape, all, [&](size_t done) {
      hooks_.done(done_ + static_cast<int64_t>(done / codes), total_);
    });
    for (size_t i = 0; i < waiting_.size(); ++i) add(waiting_[i], std::span(scores).subspan(i * codes, codes));
    done_ += static_cast<int64_t>(waiting_.size());
    waiting_.clear();
  }

  void add(const Waiting& asked, std::span<const ContinuationScore> scores) {
    NeedleCell& cell = result_.cells[asked.cell];
    auto better = std::count_if(scores.begin() + 1, scores.end(), [&](const ContinuationScore& other) {
      return other.log_probability >= scores[0].log_probability;
    });
    cell.choice.add(better == 0);
    cell.greedy.add(scores[0].greedy);
    cell.rank_sum += static_cast<double>(better + 1);
    if (!hooks_.item) return;
    OrderedJson line{{"task", "needle"}, {"length", cell.length}, {"depth", cell.depth}, {"trial", asked.number}};
    const std::vector<int32_t>& context = asked.trial.continuations.front().context;
    line["context_hash"] =
        hex64(hash64({reinterpret_cast<const char*>(context.data()), sizeof(int32_t) * context.size()}));
    for (size_t i = 0; i < scores.size(); ++i) {
      line["candidates"].push_back({{"text", asked.trial.codes[i]},
                                    {"truth", i == 0 ? "right" : "wrong"},
                                    {"log_probability", scores[i].log_probability},
                                    {"greedy", scores[i].greedy}});
    }
    line["rank"] = better + 1;
    line["correct"] = better == 0;
    hooks_.item(line);
  }

  const Subject& subject_;
  const NeedleOptions& options_;
  const EvalHooks& hooks_;
  NeedleResult result_;
  std::optional<NeedleMaker> maker_;
  int64_t total_ = 0;
  int64_t done_ = 0;
  std::vector<Waiting> waiting_;
};

OrderedJson shares(const Share& choice, const Share& greedy) {
  return {{"accuracy", choice.value()},
          {"standard_error", choice.standard_error()},
          {"greedy_accuracy", greedy.value()},
          {"greedy_standard_error", greedy.standard_error()}};
}

}  // namespace

NeedleMaker::NeedleMaker(const Tokenizer& tokenizer, int32_t bos, const std::string& text, const NeedleOptions& options,
                         int64_t longest)
    : tokenizer_(tokenizer), bos_(bos), options_(options), haystack_(tokenizer.encode(beginning(text, longest))) {
  if (static_cast<int64_t>(haystack_.size()) < longest) {
    throw InputError({.what = "the haystack is too short",
                      .got = fmt::format("{} tokens", haystack_.size()),
                      .expected = fmt::format("at least {}", longest),
                      .hint = "give more text, or smaller lengths"});
  }
  for (int32_t id : haystack_) ends_.push_back(ends_sentence(tokenizer.decode({&id, 1})));
}

// `count` tokens behind a random place, from the next sentence on if it is near.
std::span<const int32_t> NeedleMaker::stretch(size_t count, Rng& rng) const {
  size_t last = haystack_.size() - count, begin = rng.below(static_cast<uint32_t>(last + 1));
  for (size_t at = std::max<size_t>(begin, 1); at <= last && at < begin + kNear; ++at) {
    if (ends_[at - 1]) return std::span(haystack_).subspan(at, count);
  }
  return std::span(haystack_).subspan(begin, count);
}

// `place` tokens behind the beginning of the stretch, or before that where a sentence ends near it.
size_t NeedleMaker::sentence_end(std::span<const int32_t> stretch, size_t place) const {
  auto begin = static_cast<size_t>(stretch.data() - haystack_.data());
  for (size_t at = place; at > 0 && at + kNear > place; --at) {
    if (ends_[begin + at - 1]) return at;
  }
  return place;
}

std::vector<int32_t> NeedleMaker::hide(const std::vector<int32_t>& needle, size_t hay, double depth, Rng& rng) const {
  std::span<const int32_t> around = stretch(hay, rng);
  auto place = static_cast<size_t>(depth * static_cast<double>(hay));
  if (depth > 0 && depth < 1) place = sentence_end(around, place);
  std::vector<int32_t> context;
  if (bos_ >= 0) context.push_back(bos_);
  auto middle = around.begin() + static_cast<std::ptrdiff_t>(place);
  context.insert(context.end(), around.begin(), middle);
  context.insert(context.end(), needle.begin(), needle.end());
  context.insert(context.end(), middle, around.end());
  return context;
}

NeedleTrial NeedleMaker::make(int64_t length, double depth, int64_t number) const {
  auto permille = static_cast<uint64_t>(1000 * depth);
  Rng rng(options_.seed, static_cast<uint64_t>(length) << 32 | permille << 20 | static_cast<uint64_t>(number));
  NeedleTrial trial;
  while (static_cast<int64_t>(trial.codes.size()) <= options_.distractors) {
    std::string code = draw_code(rng);
    if (std::find(trial.codes.begin(), trial.codes.end(), code) == trial.codes.end()) trial.codes.push_back(code);
  }
  std::string_view city = kCities[rng.below(kCities.size())];
  std::string said = sentence(city);
  std::vector<int32_t> needle = tokenizer_.encode(" " + said + trial.codes[0] + ".");
  std::vector<int32_t> question = tokenizer_.encode(fmt::format("\n\nWhat is the secret code of {}? {}", city, said));
  std::vector<std::vector<int32_t>> codes;
  size_t longest = 0;
  for (const std::string& code : trial.codes) {
    codes.push_back(tokenizer_.encode(code));
    longest = std::max(longest, codes.back().size());
  }
  auto fixed = static_cast<int64_t>((bos_ >= 0 ? 1 : 0) + needle.size() + question.size() + longest);
  if (length < fixed + kShortestHaystack) {
    throw InputError({.what = "no room for a haystack",
                      .got = fmt::format("a length of {} tokens", length),
                      .expected = fmt::format("at least {}", fixed + kShortestHaystack)});
  }
  std::vector<int32_t> context = hide(needle, static_cast<size_t>(length - fixed), depth, rng);
  context.insert(context.end(), question.begin(), question.end());
  for (std::vector<int32_t>& code : codes) trial.continuations.push_back({context, std::move(code)});
  return trial;
}

Share NeedleResult::choice() const {
  Share all;
  for (const NeedleCell& cell : cells) all.add(cell.choice);
  return all;
}

Share NeedleResult::greedy() const {
  Share all;
  for (const NeedleCell& cell : cells) all.add(cell.greedy);
  return all;
}

std::vector<int64_t> needle_lengths(int64_t rows) {
  std::vector<int64_t> lengths;
  // Below 128 tokens little is left beside needle and question.
  for (int64_t share : {8, 4, 2}) {
    if (rows / share >= 128) lengths.push_back(rows / share);
  }
  lengths.push_back(rows);
  return lengths;
}

NeedleResult evaluate_needle(const Subject& subject, const std::string& text, const NeedleOptions& options,
                             const EvalHooks& hooks) {
  return Searching(subject, text, options, hooks).run();
}

OrderedJson to_json(const NeedleResult& r) {
  OrderedJson json{
      {"name", "needle"}, {"items", r.choice().of}, {"skipped", 0}, {"chance", 1.0 / static_cast<double>(r.codes)}};
  json.update(shares(r.choice(), r.greedy()));
  json["lengths"] = r.lengths;
  json["too_long"] = r.too_long;
  json["depths"] = r.depths;
  json["cells"] = OrderedJson::array();
  for (const NeedleCell& cell : r.cells) {
    OrderedJson each{{"length", cell.length}, {"depth", cell.depth}, {"items", cell.choice.of}};
    each.update(shares(cell.choice, cell.greedy));
    each["mean_rank"] = cell.mean_rank();
    json["cells"].push_back(std::move(each));
  }
  return json;
}

}  // namespace tandem
