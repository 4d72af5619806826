#include "data/synthetic.h"

#include <algorithm>
#include <array>
#include <span>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "base/rng.h"

namespace tandem {
namespace {

using Words = std::span<const std::string_view>;

// Few words of each kind: a small model sees each of them thousands of times in a short training.
constexpr std::array<std::string_view, 12> kNames{"Anna",  "Ben",  "Clara", "David", "Emma", "Fred",
                                                  "Grace", "Hugo", "Iris",  "Jack",  "Kate", "Leo"};
constexpr std::array<std::string_view, 12> kSurnames{"Smith", "Baker", "Miller", "Cook",  "Hill",  "Wood",
                                                     "Stone", "Young", "King",   "Brown", "Green", "Fisher"};
constexpr std::array<std::string_view, 10> kPlaces{"barn",   "kitchen", "garden", "cellar", "school",
                                                   "church", "forest",  "market", "tower",  "library"};
constexpr std::array<std::string_view, 12> kObjects{"key",  "lamp",  "drum", "rope", "book",  "ring",
                                                    "coat", "knife", "map",  "bell", "clock", "hat"};
constexpr std::array<std::string_view, 6> kColours{"red", "blue", "green", "black", "white", "yellow"};
constexpr std::array<std::string_view, 10> kAnimals{"goat", "dog", "cat",  "horse",  "fox",
                                                    "duck", "hen", "pony", "rabbit", "mouse"};
constexpr std::array<std::string_view, 10> kFoods{"plums", "bread", "cheese", "honey", "soup",
                                                  "nuts",  "fish",  "rice",   "beans", "cake"};
constexpr std::array<std::string_view, 10> kTowns{"Bath", "Cork", "Dover", "Leeds",  "Oxford",
                                                  "York", "Rome", "Paris", "Vienna", "Basel"};
constexpr std::array<std::string_view, 6> kThings{"apples", "eggs", "shells", "nails", "cards", "seeds"};
constexpr std::array<std::string_view, 8> kFillers{"The sun is warm and the wind is soft.", "It is a long day.",
                                                   "Then the rain comes and goes.",         "They sit down and rest.",
                                                   "The road is long and dusty.",           "They sing an old song.",
                                                   "Clouds move over the hills.",           "Soon it is noon."};

constexpr int kShortestStory = 150;  // words before the closing part
constexpr int kLongestStory = 340;
constexpr int64_t kQuestionGap = 40;
constexpr size_t kChoices = 8;

// What a fact is about decides its two wordings. In a wording, C stands for the cue, N for somebody, and the answer
// follows at the end.
struct FactKind {
  std::string_view stated;
  std::string_view rephrased;
  Words answers;
};

constexpr FactKind kThingPlace{"The C is in the", "N finds the C in the", kPlaces};
constexpr std::array<FactKind, 3> kPersonFacts{FactKind{"C has a", "C plays with the", kAnimals},
                                               FactKind{"C likes", "C eats some", kFoods},
                                               FactKind{"C lives in", "C drives home to", kTowns}};

// A person is always called by both names: the second one is the easiest thing to recall, since it follows its cue.
struct Person {
  std::string_view name;
  std::string_view surname;
  int64_t mentioned_at = -1;  // word number
};

struct Fact {
  const FactKind* kind;
  std::string cue;
  std::string_view answer;
  int64_t mentioned_at = -1;  // word number
  bool reserved = false;      // not mentioned between its statement and the end
};

// Distinct words of a list, in random order.
class Draw {
 public:
  Draw(Words words, Rng& rng) : words_(words.begin(), words.end()), rng_(rng) {}
  std::string_view next() {
    size_t at = rng_.below(static_cast<uint32_t>(words_.size()));
    std::string_view word = words_[at];
    words_.erase(words_.begin() + static_cast<std::ptrdiff_t>(at));
    return word;
  }

 private:
  std::vector<std::string_view> words_;
  Rng& rng_;
};

template <class T>
const T& pick(std::span<const T> items, Rng& rng) {
  return items[rng.below(static_cast<uint32_t>(items.size()))];
}

template <class T>
void shuffle(std::vector<T>& items, Rng& rng) {
  for (size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[rng.below(static_cast<uint32_t>(i))]);
}

class Teller {
 public:
  explicit Teller(Rng rng) : rng_(rng) {}

  Story tell() {
    choose_people();
    choose_facts();
    open();
    int64_t target = kShortestStory + rng_.below(kLongestStory - kShortestStory);
    while (words_ < target) middle();
    close();
    return std::move(story_);
  }

 private:
  void choose_people() {
    Draw names(kNames, rng_);
    Draw surnames(kSurnames, rng_);
    people_.resize(2 + rng_.below(3));
    for (Person& person : people_) {
      person.name = names.next();
      person.surname = surnames.next();
    }
  }

  void choose_facts() {
    // In every third story things share their colours or kinds, so that the cue is two words and not one.
    bool hard = rng_.below(3) == 0;
    Draw places(kPlaces, rng_), objects(kObjects, rng_), colours(kColours, rng_);
    std::string_view object = objects.next(), colour = colours.next();
    for (uint32_t things = 2 + rng_.below(3); things > 0; --things) {
      add_fact(kThingPlace, std::string(colour) + " " + std::string(object), places.next());
      bool keep_object = hard && rng_.below(2) == 0;
      if (!keep_object) object = objects.next();
      if (!hard || keep_object || rng_.below(2) == 0) colour = colours.next();
    }
    if (hard) {
      // One kind for everybody: the name decides.
      const FactKind& kind = pick(std::span<const FactKind>(kPersonFacts), rng_);
      Draw answers(kind.answers, rng_);
      for (size_t i = 0; i < people_.size(); ++i) add_fact(kind, mark(i), answers.next());
    } else {
      // Each kind once: the only animal, food or town of the story is the answer.
      for (const FactKind& kind : kPersonFacts) add_fact(kind, somebody(), pick(kind.answers, rng_));
    }
    shuffle(facts_, rng_);
    // At most a third, so that two facts at least are left to be told apart in the middle of the story.
    for (size_t reserved = rng_.below(static_cast<uint32_t>(facts_.size() / 3 + 1)); reserved > 0; --reserved) {
      facts_[reserved - 1].reserved = true;
    }
    shuffle(facts_, rng_);
  }

  void add_fact(const FactKind& kind, std::string cue, std::string_view answer) {
    facts_.push_back({&kind, std::move(cue), answer, -1, false});
  }

  void open() {
    std::string who = mark(0);
    for (size_t i = 1; i < people_.size(); ++i) {
      who += i + 1 == people_.size() ? " and " : ", ";
      who += mark(i);
    }
    say("This is a story about " + who + ".");
    for (Fact& fact : facts_) {
      mention(fact, false);
      if (rng_.below(4) == 0) filler();
    }
  }

  void middle() {
    if (list_repeat_at_ >= 0 && words_ >= list_repeat_at_) return repeat_list();
    switch (rng_.below(10)) {
      case 0: return filler();
      case 1: return sum();
      case 2: return list_.empty() ? say_list() : recall();
      default: return recall();
    }
  }

  void recall() {
    std::vector<Fact*> fresh;
    int64_t latest = 0;
    for (const Fact& fact : facts_) latest = std::max(latest, fact.mentioned_at);
    for (Fact& fact : facts_) {
      if (!fact.reserved && fact.mentioned_at < latest) fresh.push_back(&fact);
    }
    mention(*pick(std::span<Fact* const>(fresh), rng_), rng_.below(5) < 2);
  }

  void close() {
    if (list_repeat_at_ >= 0) repeat_list();
    say("Now the day ends.");
    shuffle(facts_, rng_);
    for (Fact& fact : facts_) mention(fact, rng_.below(5) < 2);
    say("That is all.");
  }

  void filler() { say(pick(Words(kFillers), rng_)); }

  // Stands for a person in a sentence until append() writes the names.
  static std::string mark(size_t person) { return {kMark, static_cast<char>('0' + person)}; }
  std::string somebody() { return mark(rng_.below(static_cast<uint32_t>(people_.size()))); }

  void sum() {
    std::string who = somebody(), things(pick(Words(kThings), rng_));
    uint32_t had = 1 + rng_.below(9), change = 1 + rng_.below(9);
    bool more = had <= change || rng_.below(2) == 0;
    say(who + " has " + std::to_string(had) + " " + things + ".");
    say(who + (more ? " gets " : " loses ") + std::to_string(change) + (more ? " more." : " of them."));
    say("Now " + who + " has " + std::to_string(more ? had + change : had - change) + " " + things + ".");
  }

  void say_list() {
    Draw objects(kObjects, rng_);
    for (uint32_t n = 4 + rng_.below(5); n > 0; --n) {
      list_ += " ";
      list_ += objects.next();
    }
    say(somebody() + " says the words" + list_ + ".");
    list_repeat_at_ = words_ + rng_.below(120);
  }

  void repeat_list() {
    say(somebody() + " says again the words" + list_ + ".");
    list_repeat_at_ = -1;
  }

  // One sentence that ends in the fact's answer.
  void mention(Fact& fact, bool rephrased) {
    std::string sentence;
    for (char c : rephrased ? fact.kind->rephrased : fact.kind->stated) {
      if (c == 'C') {
        sentence += fact.cue;
      } else if (c == 'N') {
        sentence += somebody();
      } else {
        sentence += c;
      }
    }
    say(sentence);
    auto same_kind = [&](const Fact& other) { return other.kind == fact.kind; };
    bool only = std::count_if(facts_.begin(), facts_.end(), same_kind) == 1;
    recall_point(only ? RecallKind::kOnly : RecallKind::kFact, fact.answer, fact.mentioned_at, rivals(fact), rephrased);
    append(" ");
    append(fact.answer);
    append(".");
    fact.mentioned_at = words_;
  }

  void recall_point(RecallKind kind, std::string_view answer, int64_t mentioned_at, std::vector<std::string> rivals,
                    bool rephrased) {
    if (mentioned_at < 0) return;
    story_.recalls.push_back({.kind = kind,
                              .offset = story_.text.size(),
                              .answer = " " + std::string(answer),
                              .words_since = words_ - mentioned_at,
                              .rephrased = rephrased,
                              .rivals = std::move(rivals)});
  }

  std::vector<std::string> rivals(const Fact& fact) {
    std::vector<std::string_view> told;
    for (const Fact& other : facts_) {
      if (other.kind == fact.kind) told.push_back(other.answer);
    }
    return rivals(fact.answer, fact.kind->answers, told);
  }

  std::vector<std::string> surname_rivals(const Person& person) {
    std::vector<std::string_view> told;
    for (const Person& other : people_) told.push_back(other.surname);
    return rivals(person.surname, kSurnames, told);
  }

  // All other words of a kind in random order, those that the story tells first.
  std::vector<std::string> rivals(std::string_view answer, Words kind, const std::vector<std::string_view>& told) {
    std::vector<std::string> near, far;
    std::vector<std::string_view> all(kind.begin(), kind.end());
    shuffle(all, rng_);
    for (std::string_view word : all) {
      if (word == answer) continue;
      bool is_told = std::find(told.begin(), told.end(), word) != told.end();
      (is_told ? near : far).push_back(" " + std::string(word));
    }
    near.insert(near.end(), far.begin(), far.end());
    return near;
  }

  void say(std::string_view sentence) {
    if (!story_.text.empty()) append(" ");
    append(sentence);
  }

  void append(std::string_view text) {
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] == kMark) {
        call(people_[static_cast<size_t>(text[++i] - '0')]);
        continue;
      }
      words_ += story_.text.empty() || text[i] == ' ';
      story_.text += text[i];
    }
  }

  void call(Person& person) {
    append(person.name);
    recall_point(RecallKind::kName, person.surname, person.mentioned_at, surname_rivals(person), false);
    append(" ");
    append(person.surname);
    person.mentioned_at = words_;
  }

  static constexpr char kMark = '\x01';

  Rng rng_;
  Story story_;
  int64_t words_ = 0;
  std::vector<Person> people_;
  std::vector<Fact> facts_;
  std::string list_;
  int64_t list_repeat_at_ = -1;  // word number; -1: no list waits to be read again
};

}  // namespace

Story StoryMaker::story(uint64_t index) const {
  // The split stands in bits that no index reaches.
  return Teller(Rng(seed_, static_cast<uint64_t>(split_) << 60 | index)).tell();
}

std::vector<RecallQuestion> recall_questions(uint64_t seed, int64_t count, size_t longest_prompt_bytes) {
  StoryMaker maker(seed, SyntheticSplit::kQuestions);
  std::vector<RecallQuestion> questions;
  constexpr uint64_t kTriesPerQuestion = 1000;
  for (uint64_t index = 0; static_cast<int64_t>(questions.size()) < count; ++index) {
    if (index >= kTriesPerQuestion * static_cast<uint64_t>(count)) {
      throw InputError({.what = "no story is short enough for a question",
                        .got = std::to_string(longest_prompt_bytes) + " bytes",
                        .expected = "a longer prompt"});
    }
    Story story = maker.story(index);
    std::erase_if(story.recalls, [&](const RecallPoint& point) {
      bool too_long = longest_prompt_bytes > 0 && point.offset > longest_prompt_bytes;
      return too_long || point.words_since < kQuestionGap;
    });
    if (story.recalls.empty()) continue;
    Rng rng(seed, static_cast<uint64_t>(SyntheticSplit::kQuestions) << 60 | uint64_t{1} << 59 | index);
    // The kinds take turns; a story without a point of the kind is passed over.
    constexpr std::array<RecallKind, 3> kTurns{RecallKind::kOnly, RecallKind::kName, RecallKind::kFact};
    RecallKind wanted = kTurns[questions.size() % kTurns.size()];
    bool found = std::any_of(story.recalls.begin(), story.recalls.end(),
                             [&](const RecallPoint& candidate) { return candidate.kind == wanted; });
    if (!found) continue;
    std::erase_if(story.recalls, [&](const RecallPoint& candidate) { return candidate.kind != wanted; });
    RecallPoint& point = story.recalls[rng.below(static_cast<uint32_t>(story.recalls.size()))];
    RecallQuestion question{.kind = point.kind,
                            .prompt = story.text.substr(0, point.offset),
                            .answer = point.answer,
                            .choices = std::move(point.rivals),
                            .words_since = point.words_since};
    question.choices.resize(kChoices - 1);
    question.choices.push_back(question.answer);
    shuffle(question.choices, rng);
    questions.push_back(std::move(question));
  }
  return questions;
}

}  // namespace tandem
