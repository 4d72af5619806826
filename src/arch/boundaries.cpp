#include "arch/boundaries.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <numeric>
#include <utility>

#include "arch/numpy_rng.h"
#include "base/error.h"

namespace tandem {
namespace {

constexpr int64_t kShortestMixedBlock = 4;

struct Name {
  BoundaryKind kind;
  std::string_view name;
  bool has_interval;
};
constexpr std::array kNames{Name{BoundaryKind::random_uniform, "random_uniform", false},
                            Name{BoundaryKind::logspace, "logspace", false},
                            Name{BoundaryKind::single_middle, "single_middle", false},
                            Name{BoundaryKind::prompt_style, "prompt_style", false},
                            Name{BoundaryKind::mixed, "mixed", false},
                            Name{BoundaryKind::by_length, "by_length", false},
                            Name{BoundaryKind::fixed, "fixed", true},
                            Name{BoundaryKind::geometric, "geometric", true}};

// The whole of `text` as a positive number; 0 when it is none.
int64_t positive_number(std::string_view text) {
  int64_t value = 0;
  auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && stop == text.data() + text.size() && value > 0 && value <= INT32_MAX ? value : 0;
}

// `count` different positions in 2..length-2, or all of them.
std::vector<int32_t> scattered(int64_t length, int64_t count, Rng& rng) {
  int64_t places = std::max<int64_t>(length - 3, 0);
  count = std::min(count, places);
  std::vector<int32_t> drawn;
  while (static_cast<int64_t>(drawn.size()) < count) {
    auto position = static_cast<int32_t>(2 + rng.below(static_cast<uint32_t>(places)));
    if (std::find(drawn.begin(), drawn.end(), position) == drawn.end()) drawn.push_back(position);
  }
  std::sort(drawn.begin(), drawn.end());
  return drawn;
}

// One of the counts 1, 2, 4, ... max_blocks (geometric steps, rounded), of which 1 is raised to 2.
int64_t logspace_count(int64_t max_blocks, Rng& rng) {
  auto most = static_cast<double>(max_blocks);
  auto steps = static_cast<uint32_t>(std::log2(most) + 1);
  double exponent = static_cast<double>(rng.below(steps)) / static_cast<double>(std::max(steps - 1, 1u));
  return std::max<int64_t>(2, std::lround(std::pow(most, exponent)));
}

std::vector<int32_t> every(int64_t first, int64_t interval, int64_t length) {
  std::vector<int32_t> positions;
  for (int64_t t = first; t < length; t += interval) positions.push_back(static_cast<int32_t>(t));
  return positions;
}

std::vector<int32_t> middle(int64_t length) { return every(std::max<int64_t>(length / 2, 1), length, length); }

std::vector<int32_t> prompt_style(const PromptLengths& prompts, int64_t length, Rng& rng) {
  auto fits = [&](size_t i) { return prompts.lengths[i] >= 2 && prompts.lengths[i] < length - 1; };
  int64_t total = 0;
  for (size_t i = 0; i < prompts.lengths.size(); ++i) total += fits(i) ? prompts.counts[i] : 0;
  if (total == 0) return middle(length);
  auto left = static_cast<int64_t>(rng.uniform() * static_cast<double>(total));
  size_t i = 0;
  for (;; ++i) {
    if (!fits(i)) continue;
    left -= prompts.counts[i];
    if (left < 0) break;
  }
  return {prompts.lengths[i]};
}

std::vector<int32_t> geometric(int64_t interval, int64_t length, Rng& rng) {
  std::vector<int32_t> positions;
  for (int64_t t = 1; t < length; ++t) {
    if (rng.below(static_cast<uint32_t>(interval)) == 0) positions.push_back(static_cast<int32_t>(t));
  }
  return positions;
}

std::vector<int32_t> mixed(int64_t length, Rng& rng) {
  double shortest = static_cast<double>(kShortestMixedBlock);
  double ratio = std::max(static_cast<double>(length) / shortest, 1.0);
  int64_t interval = std::lround(shortest * std::pow(ratio, rng.uniform()));
  return every(1 + rng.below(static_cast<uint32_t>(interval)), interval, length);
}

std::vector<int32_t> by_length(int64_t length, int64_t max_blocks) {
  auto places = static_cast<int32_t>(std::max<int64_t>(length - 3, 0));
  if (places == 0) return middle(length);
  NumpyRng rng(static_cast<uint32_t>(length));
  auto count = static_cast<int32_t>(2 + rng.below(static_cast<uint32_t>(max_blocks - 2)));
  return rng.choose(2, 2 + places, std::min(count, places));
}

}  // namespace

std::string BoundaryStrategy::text() const {
  for (const Name& n : kNames) {
    if (n.kind == kind) return n.has_interval ? fmt::format("{}:{}", n.name, interval) : std::string(n.name);
  }
  return "";
}

bool BoundaryStrategy::parse(std::string_view text) {
  size_t colon = text.find(':');
  for (const Name& n : kNames) {
    if (text.substr(0, colon) != n.name || n.has_interval != (colon != std::string_view::npos)) continue;
    int64_t number = n.has_interval ? positive_number(text.substr(colon + 1)) : 0;
    if (n.has_interval && number == 0) return false;
    *this = {n.kind, number};
    return true;
  }
  return false;
}

std::string BoundaryStrategy::forms() {
  std::string forms;
  for (const Name& n : kNames)
    forms += fmt::format("{}{}{}", forms.empty() ? "" : "|", n.name, n.has_interval ? ":N" : "");
  return forms;
}

PromptLengths PromptLengths::parse(const std::vector<std::string>& entries, const std::string& where) {
  PromptLengths prompts;
  for (const std::string& entry : entries) {
    size_t colon = std::min(entry.find(':'), entry.size());
    int64_t length = positive_number(std::string_view(entry).substr(0, colon));
    int64_t count = colon < entry.size() ? positive_number(std::string_view(entry).substr(colon + 1)) : 1;
    if (length == 0 || count == 0) {
      throw InputError({.what = "bad entry of 'prompt_lengths'",
                        .where = where,
                        .got = fmt::format("'{}'", entry),
                        .expected = "LENGTH or LENGTH:COUNT, both positive"});
    }
    prompts.lengths.push_back(static_cast<int32_t>(length));
    prompts.counts.push_back(count);
  }
  return prompts;
}

std::vector<int32_t> draw_boundaries(const BoundaryRule& rule, int64_t length, Rng& rng) {
  switch (rule.strategy.kind) {
    case BoundaryKind::random_uniform:
      return scattered(length, 2 + rng.below(static_cast<uint32_t>(rule.max_blocks - 2)), rng);
    case BoundaryKind::logspace: return scattered(length, logspace_count(rule.max_blocks, rng), rng);
    case BoundaryKind::single_middle: return middle(length);
    case BoundaryKind::prompt_style: return prompt_style(rule.prompts, length, rng);
    case BoundaryKind::fixed: return every(rule.strategy.interval, rule.strategy.interval, length);
    case BoundaryKind::geometric: return geometric(rule.strategy.interval, length, rng);
    case BoundaryKind::mixed: return mixed(length, rng);
    case BoundaryKind::by_length: return by_length(length, rule.max_blocks);
  }
  return {};
}

}  // namespace tandem
