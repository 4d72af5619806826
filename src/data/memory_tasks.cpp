#include "data/memory_tasks.h"

#include <fmt/format.h>

#include <string_view>
#include <utility>

#include "base/error.h"

namespace tandem {
namespace {

// Keys and values have no consonant in common: no word is both.
constexpr std::string_view kKeyConsonants = "bcdfghjklmnpr";
constexpr std::string_view kValueConsonants = "stvwxyz";
constexpr std::string_view kVowels = "aeiou";
static_assert(kKeyConsonants.size() * kVowels.size() == kMostPairs);

std::vector<std::string> syllables(std::string_view consonants) {
  std::vector<std::string> all;
  for (char consonant : consonants) {
    for (char vowel : kVowels) all.push_back({' ', consonant, vowel});
  }
  return all;
}

uint32_t draw(Rng& rng, size_t below) { return rng.below(static_cast<uint32_t>(below)); }

template <class T>
void shuffle(std::vector<T>& items, Rng& rng) {
  for (size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[draw(rng, i)]);
}

MemoryTask make_copy(int64_t letters, Rng& rng) {
  MemoryTask task{.words = {"Copy:"}};
  for (int64_t i = 0; i < letters; ++i) task.words.push_back({' ', static_cast<char>('a' + draw(rng, 26))});
  task.words.push_back(" |");
  for (size_t i = 1; i <= static_cast<size_t>(letters); ++i) {
    task.answers.push_back(task.words.size());
    task.words.push_back(task.words[i]);
  }
  return task;
}

MemoryTask make_pairs(int64_t count, Rng& rng) {
  if (count > kMostPairs) {
    throw InputError({.what = "too many pairs",
                      .got = fmt::format("{}", count),
                      .expected = fmt::format("at most {}, as many as there are keys", kMostPairs)});
  }
  std::vector<std::string> keys = syllables(kKeyConsonants), values = syllables(kValueConsonants);
  shuffle(keys, rng);
  std::vector<std::pair<std::string, std::string>> pairs;
  for (size_t i = 0; i < static_cast<size_t>(count); ++i) pairs.emplace_back(keys[i], values[draw(rng, values.size())]);
  MemoryTask task{.words = {"Pairs:"}};
  auto say = [&] {
    for (const auto& [key, value] : pairs) task.words.insert(task.words.end(), {key, value});
  };
  say();
  task.words.push_back(" |");
  shuffle(pairs, rng);
  for (size_t i = 0; i < pairs.size(); ++i) task.answers.push_back(task.words.size() + 2 * i + 1);
  say();
  return task;
}

}  // namespace

std::string MemoryTask::text() const {
  std::string all;
  for (const std::string& word : words) all += word;
  return all;
}

MemoryTask make_memory_task(MemoryKind kind, int64_t size, Rng& rng) {
  if (size < 1)
    throw InputError({.what = "size of a memory task", .got = fmt::format("{}", size), .expected = "1 or more"});
  return kind == MemoryKind::copy ? make_copy(size, rng) : make_pairs(size, rng);
}

int64_t longest_in_training(MemoryKind kind) { return kind == MemoryKind::copy ? 40 : 16; }

}  // namespace tandem
