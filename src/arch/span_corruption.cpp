#include "arch/span_corruption.h"

#include <algorithm>
#include <cmath>

#include "arch/sides.h"
#include "base/error.h"

namespace tandem {
namespace {

void check_tokens(const ModelConfig& config) {
  check_document_tokens(config);
  if (config.sentinel_start >= 0 && config.n_sentinels > 0) return;
  throw InputError({.what = "span corruption without sentinel tokens",
                    .where = config.sentinel_start < 0 ? "sentinel_start" : "n_sentinels",
                    .got = fmt::format("{}", config.sentinel_start < 0 ? config.sentinel_start : config.n_sentinels),
                    .expected = config.sentinel_start < 0 ? "a token id" : "at least 1"});
}

// Half to even, as Python rounds.
int64_t round_even(double x) { return static_cast<int64_t>(std::nearbyint(x)); }

// Knuth's way: uniform numbers are multiplied until the product falls to exp(-mean).
int64_t poisson(double mean, Rng& rng) {
  double least = std::exp(-mean), product = rng.uniform();
  int64_t count = 0;
  for (; product > least; ++count) product *= rng.uniform();
  return count;
}

// `count` different elements, ascending.
std::vector<int64_t> choose(std::vector<int64_t> from, int64_t count, Rng& rng) {
  for (int64_t i = 0; i < count; ++i) {
    auto left = static_cast<uint32_t>(static_cast<int64_t>(from.size()) - i);
    std::swap(from[static_cast<size_t>(i)], from[static_cast<size_t>(i + rng.below(left))]);
  }
  from.resize(static_cast<size_t>(count));
  std::sort(from.begin(), from.end());
  return from;
}

// Adds the tokens from `begin` on, at most `length`, up to `end` and the first token that may not be replaced; stops
// when `wanted` tokens are covered. Returns how many were new. Calls come with ascending `begin`.
int64_t cover(std::vector<TokenRange>& spans, const std::vector<bool>& ordinary, int64_t first, int64_t begin,
              int64_t length, int64_t wanted) {
  int64_t covered = 0;
  for (int64_t t = begin; t < begin + length; ++t) {
    if (t - first >= static_cast<int64_t>(ordinary.size()) || !ordinary[static_cast<size_t>(t - first)]) break;
    bool touches = !spans.empty() && spans.back().end >= t;
    if (touches && spans.back().end > t) continue;
    if (touches) {
      ++spans.back().end;
    } else {
      spans.push_back({t, t + 1});
    }
    if (++covered == wanted) break;
  }
  return covered;
}

// The stretches of one text, added to `spans`.
void draw_text(std::vector<TokenRange>& spans, const Batch& batch, const TokenRange& text, const ModelConfig& config,
               Rng& rng) {
  std::vector<bool> ordinary;
  std::vector<int64_t> places;
  for (int64_t t = text.begin; t < text.end; ++t) {
    int32_t id = batch.ids[static_cast<size_t>(t)];
    ordinary.push_back(id != config.bos_id && id != config.eos_id);
    if (ordinary.back()) places.push_back(t);
  }
  if (places.empty()) return;
  auto count = static_cast<int64_t>(places.size());
  int64_t wanted = std::max<int64_t>(1, round_even(static_cast<double>(count) * config.noise_density));
  int64_t starts = std::max<int64_t>(1, round_even(static_cast<double>(wanted) / config.mean_span_length));
  starts = std::min({count, config.n_sentinels, starts});
  std::vector<TokenRange> own;
  for (int64_t start : choose(std::move(places), starts, rng)) {
    int64_t length = std::max<int64_t>(1, poisson(config.mean_span_length, rng));
    wanted -= cover(own, ordinary, text.begin, start, length, wanted);
    if (wanted == 0) break;
  }
  spans.insert(spans.end(), own.begin(), own.end());
}

void check_spans(const Batch& batch) {
  int64_t end = 0;
  for (const TokenRange& span : batch.spans) {
    if (span.begin < end || span.size() <= 0 || span.end > batch.tokens()) {
      throw InputError({.what = "stretch of tokens to replace out of order or out of range",
                        .got = fmt::format("[{}, {})", span.begin, span.end),
                        .expected = fmt::format("a stretch inside [{}, {})", end, batch.tokens())});
    }
    end = span.end;
  }
}

}  // namespace

void draw_spans(Batch& batch, const ModelConfig& config, Rng& rng) {
  check_tokens(config);
  if (!batch.spans.empty()) return check_spans(batch);
  for (const TokenRange& text : batch.texts()) {
    if (!batch.is_padding(text)) draw_text(batch.spans, batch, text, config, rng);
  }
}

void lay_out_spans(Batch& batch, const ModelConfig& config) {
  check_tokens(config);
  Sides sides(batch);
  size_t next = 0;
  std::vector<int32_t> read, written, input;
  auto copy = [&](std::vector<int32_t>& to, int64_t begin, int64_t end) {
    to.insert(to.end(), batch.ids.begin() + begin, batch.ids.begin() + end);
  };
  auto most = static_cast<size_t>(config.max_seq_len);
  for (const TokenRange& text : batch.texts()) {
    if (batch.is_padding(text)) continue;
    read.clear();
    written.clear();
    int64_t at = text.begin;
    auto sentinel = static_cast<int32_t>(config.sentinel_start);
    auto after_last = static_cast<int32_t>(config.sentinel_start + config.n_sentinels);
    for (; next < batch.spans.size() && batch.spans[next].begin < text.end; ++next) {
      const TokenRange& span = batch.spans[next];
      if (sentinel == after_last || span.end > text.end) continue;
      copy(read, at, span.begin);
      read.push_back(sentinel);
      written.push_back(sentinel++);
      copy(written, span.begin, span.end);
      at = span.end;
    }
    copy(read, at, text.end);
    written.push_back(static_cast<int32_t>(config.eos_id));
    input.assign(1, static_cast<int32_t>(config.bos_id));
    input.insert(input.end(), written.begin(), written.end() - 1);
    read.resize(std::min(read.size(), most));
    written.resize(std::min(written.size(), most));
    input.resize(written.size());
    sides.write(input, written, 0, config.max_seq_len - 1, sides.read(read));
  }
}

}  // namespace tandem
