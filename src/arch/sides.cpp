#include "arch/sides.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"

namespace tandem {
namespace {

constexpr int64_t kShortestSplit = 3;  // tokens of a text that prefix-LM can cut

std::span<const int32_t> slice(const std::vector<int32_t>& list, const TokenRange& range) {
  return std::span(list).subspan(static_cast<size_t>(range.begin), static_cast<size_t>(range.size()));
}

void append(std::vector<int32_t>& to, std::span<const int32_t> from) { to.insert(to.end(), from.begin(), from.end()); }

// What a conversation is made of.
std::vector<TokenRange> responses_of(const Batch& batch, const TokenRange& text) {
  std::vector<TokenRange> responses;
  for (int64_t t = text.begin; t < text.end; ++t) {
    if (batch.roles[static_cast<size_t>(t)] != Role::response) continue;
    if (responses.empty() || responses.back().end != t) responses.push_back({t, t});
    responses.back().end = t + 1;
  }
  return responses;
}

// The part of `range` up to its last labelled token; empty when it has none.
TokenRange labelled_part(const Batch& batch, TokenRange range) {
  while (range.end > range.begin && batch.labels[static_cast<size_t>(range.end - 1)] == kIgnoreLabel) --range.end;
  return range;
}

TokenRange cut(const TokenRange& range, int64_t most) { return {range.begin, std::min(range.end, range.begin + most)}; }

template <class Visit>
void for_conversations(const Batch& batch, const Visit& visit) {
  if (batch.roles.size() != batch.ids.size()) {
    throw InputError({.what = "rows without roles",
                      .where = "objective = conversation",
                      .expected = "conversations",
                      .hint = "is the data made of prompt/response or messages records?"});
  }
  for (const TokenRange& text : batch.texts()) {
    if (!batch.is_padding(text)) visit(text);
  }
}

// Prefix-LM cuts text; visit(text, length of its first part).
template <class Visit>
void for_split_texts(const Batch& batch, const Visit& visit) {
  std::vector<TokenRange> texts = batch.texts();
  for (size_t i = 0; i < texts.size(); ++i) {
    if (batch.prefixes[i] > 0 && !batch.is_padding(texts[i])) visit(texts[i], batch.prefixes[i]);
  }
}

void check_prefixes(const Batch& batch, std::span<const TokenRange> texts) {
  bool fits = batch.prefixes.size() == texts.size();
  for (size_t i = 0; fits && i < texts.size(); ++i) {
    int64_t prefix = batch.prefixes[i];
    if (prefix >= 0 && prefix < texts[i].size()) continue;
    throw InputError({.what = "first part of a text out of range",
                      .got = fmt::format("{} tokens", prefix),
                      .expected = fmt::format("0..{}", texts[i].size() - 1)});
  }
  if (fits) return;
  throw InputError({.what = "wrong number of first parts",
                    .got = fmt::format("{}", batch.prefixes.size()),
                    .expected = fmt::format("{}", texts.size())});
}

void check_boundaries(const Batch& batch) {
  int64_t previous = 0;
  for (int32_t boundary : batch.boundaries) {
    if (boundary > previous && boundary < batch.tokens()) {
      previous = boundary;
      continue;
    }
    throw InputError({.what = "block boundaries out of order or out of the rows",
                      .got = fmt::format("{}", boundary),
                      .expected = fmt::format("ascending, in 1..{}", batch.tokens() - 1)});
  }
}

}  // namespace

Sides::Sides(Batch& batch) : batch_(batch) {
  batch.two_sided = true;
  batch.reader = {};
  batch.writer = {};
}

TokenRange Sides::read(std::span<const int32_t> ids) {
  ReaderSide& side = batch_.reader;
  TokenRange range{static_cast<int64_t>(side.ids.size()), static_cast<int64_t>(side.ids.size() + ids.size())};
  if (ids.empty()) return range;
  append(side.ids, ids);
  for (int64_t t = 0; t < range.size(); ++t) side.positions.push_back(static_cast<int32_t>(t));
  side.sequences.push_back(range);
  return range;
}

void Sides::write(std::span<const int32_t> ids, std::span<const int32_t> labels, int64_t first_position,
                  int64_t last_position, const TokenRange& reads) {
  if (ids.empty()) return;
  WriterSide& side = batch_.writer;
  auto begin = static_cast<int64_t>(side.ids.size()), count = static_cast<int64_t>(ids.size());
  append(side.ids, ids);
  append(side.labels, labels);
  for (int64_t t = 0; t < count; ++t) {
    side.positions.push_back(static_cast<int32_t>(std::min(first_position + t, last_position)));
  }
  side.blocks.push_back({{begin, begin + count}, reads});
}

void check_objective(const ModelConfig& config, const Batch& batch) {
  if (learns(config.arch, batch.objective)) return;
  throw InputError({.what = "objective that the architecture does not learn",
                    .where = fmt::format("arch = {}", arch_name(config.arch)),
                    .got = std::string(objective_name(batch.objective)),
                    .expected = objectives_of(config.arch)});
}

void check_document_tokens(const ModelConfig& config) {
  if (config.bos_id >= 0 && config.eos_id >= 0) return;
  throw InputError({.what = "the model's config does not say which tokens begin and end a text",
                    .where = config.bos_id < 0 ? "bos_id" : "eos_id",
                    .got = "-1",
                    .expected = "a token id",
                    .hint = "a model folder names it in config.json"});
}

void draw_prefixes(Batch& batch, Rng& rng) {
  std::vector<TokenRange> texts = batch.texts();
  if (!batch.prefixes.empty()) return check_prefixes(batch, texts);
  for (const TokenRange& text : texts) {
    bool short_text = text.size() < kShortestSplit || batch.is_padding(text);
    batch.prefixes.push_back(short_text ? 0
                                        : static_cast<int32_t>(1 + rng.below(static_cast<uint32_t>(text.size() - 2))));
  }
}

void lay_out_prefixes(Batch& batch, const ModelConfig& config, bool continue_positions) {
  check_document_tokens(config);
  Sides sides(batch);
  std::vector<int32_t> ids, labels;
  for_split_texts(batch, [&](const TokenRange& text, int32_t prefix) {
    TokenRange first{text.begin, text.begin + prefix}, rest{first.end, text.end};
    TokenRange reads = sides.read(slice(batch.ids, first));
    ids.assign(1, static_cast<int32_t>(config.bos_id));
    labels.clear();
    append(ids, slice(batch.ids, rest));
    append(labels, slice(batch.ids, rest));
    labels.push_back(static_cast<int32_t>(config.eos_id));
    sides.write(ids, labels, continue_positions ? prefix : 0, config.max_seq_len - 1, reads);
  });
}

void label_suffixes(Batch& batch, const ModelConfig& config) {
  check_document_tokens(config);
  batch.labels.assign(batch.ids.size(), kIgnoreLabel);
  for_split_texts(batch, [&](const TokenRange& text, int32_t prefix) {
    for (int64_t t = text.begin + prefix - 1; t + 1 < text.end; ++t) {
      int32_t next = batch.ids[static_cast<size_t>(t + 1)];
      if (next != config.bos_id && next != config.eos_id) batch.labels[static_cast<size_t>(t)] = next;
    }
  });
}

std::vector<WriterBlock> text_blocks(const Batch& batch) {
  check_boundaries(batch);
  const std::vector<TokenRange> texts = batch.texts();
  std::vector<WriterBlock> blocks;
  blocks.reserve(batch.boundaries.size() + texts.size());
  auto next = batch.boundaries.begin();
  for (const TokenRange& text : texts) {
    int64_t begin = text.begin;
    auto close = [&](int64_t end) {
      blocks.push_back({{begin, end}, {text.begin, std::max(begin, text.begin + 1)}});
      begin = end;
    };
    for (; next != batch.boundaries.end() && *next < text.end; ++next) {
      if (*next > begin) close(*next);
    }
    close(text.end);
  }
  return blocks;
}

void lay_out_conversations(Batch& batch) {
  Sides sides(batch);
  for_conversations(batch, [&](const TokenRange& text) {
    TokenRange written = labelled_part(batch, text);
    sides.write(slice(batch.ids, written), slice(batch.labels, written), 0, written.size(), {});
  });
}

void lay_out_responses(Batch& batch) {
  Sides sides(batch);
  for_conversations(batch, [&](const TokenRange& text) {
    std::vector<TokenRange> written;
    for (const TokenRange& response : responses_of(batch, text)) {
      TokenRange part = labelled_part(batch, response);
      if (part.size() > 0) written.push_back(part);
    }
    if (written.empty()) return;
    TokenRange read = sides.read(slice(batch.ids, {text.begin, written.back().begin}));
    for (const TokenRange& part : written) {
      int64_t before = part.begin - text.begin;
      sides.write(slice(batch.ids, part), slice(batch.labels, part), before, before + part.size(),
                  {read.begin, read.begin + before});
    }
  });
}

void lay_out_turns(Batch& batch, const ModelConfig& config) {
  check_document_tokens(config);
  Sides sides(batch);
  std::vector<int32_t> ids, labels;
  bool continue_positions = config.decoder_positions == DecoderPositions::after_prompt;
  for_conversations(batch, [&](const TokenRange& text) {
    for (const TokenRange& whole : responses_of(batch, text)) {
      if (labelled_part(batch, whole).size() == 0) continue;
      TokenRange response = cut(whole, config.max_seq_len);
      TokenRange reads = sides.read(slice(batch.ids, cut({text.begin, whole.begin}, config.max_seq_len)));
      ids.assign(1, static_cast<int32_t>(config.bos_id));
      append(ids, slice(batch.ids, {response.begin, response.end - 1}));
      labels.assign(1, batch.ids[static_cast<size_t>(response.begin)]);
      append(labels, slice(batch.labels, {response.begin, response.end - 1}));
      sides.write(ids, labels, continue_positions ? reads.size() : 0, config.max_seq_len - 1, reads);
    }
  });
}

}  // namespace tandem
