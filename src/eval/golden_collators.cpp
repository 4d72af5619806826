#include "eval/golden_collators.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/json.h"
#include "data/packer.h"
#include "data/shard.h"
#include "eval/golden_draws.h"

namespace tandem {
namespace fs = std::filesystem;
namespace {

using Ids = std::vector<int32_t>;

Ids ids_of(const Json& list, const std::string& where) {
  Ids ids;
  bool numbers = list.is_array();
  for (size_t i = 0; numbers && i < list.size(); ++i) {
    numbers = list[i].is_number_integer();
    if (numbers) ids.push_back(list[i].get<int32_t>());
  }
  if (!numbers) throw InputError({.what = "not a list of token ids", .where = where, .got = list.dump().substr(0, 60)});
  return ids;
}

const Json& list_at(const Json& object, const char* key, const std::string& where) {
  const Json& list = json_at(object, key, where);
  if (list.is_array()) return list;
  throw InputError({.what = fmt::format("wrong type of '{}'", key), .where = where, .expected = "a list"});
}

// One recorded case and where its comparison goes.
struct Case {
  const Json& json;
  std::string where;  // file and name of the case
  std::string name;
  std::string collator;
  ParityCollector& out;

  const Json& params() const { return json_at(json, "params", where); }
  const Json& input() const { return list_at(json, "input", where); }
  const Json& output() const { return json_at(json, "output", where); }
  int64_t param(const char* key) const { return json_int(params(), key, where); }
  int64_t param(const char* key, int64_t otherwise) const { return params().contains(key) ? param(key) : otherwise; }

  // Row `row` of an output.
  Ids row(const char* key, size_t row) const {
    const Json& rows = list_at(output(), key, where);
    if (row >= rows.size()) throw InputError({.what = fmt::format("too few rows of '{}'", key), .where = where});
    return ids_of(rows[row], where);
  }
  void compare(const char* what, const Ids& ours, const Ids& theirs) const {
    size_t common = std::min(ours.size(), theirs.size()), wrong = std::max(ours.size(), theirs.size()) - common;
    for (size_t i = 0; i < common; ++i) wrong += ours[i] != theirs[i];
    out.add(collator, "wrong values", fmt::format("{}.{}", name, what), static_cast<double>(wrong), 0.0);
  }
};

Ids padded(Ids ids, size_t length, int32_t filler) {
  ids.resize(std::max(ids.size(), length), filler);
  return ids;
}

Ids slice(const Ids& ids, const TokenRange& range) { return {ids.begin() + range.begin, ids.begin() + range.end}; }

// --- Rows of documents -----------------------------------------------------------------------------------------------

void check_packing(const Case& c) {
  PackRule rule{.length = c.param("ctx_len"),
                .bos = static_cast<int32_t>(c.param("bos_id")),
                .eos = static_cast<int32_t>(c.param("eos_id"))};
  RowPacker packer(rule);
  std::vector<Ids> rows;
  for (const Json& document : c.input()) {
    Ids ids = ids_of(document, c.where);
    std::vector<uint32_t> stored(ids.begin(), ids.end());
    for (std::span<const uint32_t> rest = stored; !rest.empty();) {
      rest = rest.subspan(packer.take(rest));
      if (!packer.full()) continue;
      rows.emplace_back(packer.ids().begin(), packer.ids().end());
      packer.clear();
    }
  }
  c.compare("rows", {static_cast<int32_t>(rows.size())}, {static_cast<int32_t>(c.output().size())});
  for (size_t i = 0; i < std::min(rows.size(), c.output().size()); ++i) {
    c.compare("row", rows[i], ids_of(c.output()[i], c.where));
  }
}

// The recorded rows as training packs them: ids, positions and labels of plain text.
Batch text_rows(const Case& c) {
  Batch batch;
  PackRule rule;
  for (const Json& example : c.input()) {
    Ids ids = ids_of(json_at(example, "input_ids", c.where), c.where);
    rule = {.length = static_cast<int64_t>(ids.size()),
            .bos = static_cast<int32_t>(c.param("bos_token_id")),
            .eos = static_cast<int32_t>(c.param("eos_token_id"))};
    if (batch.rows == 0) batch = empty_batch(rule);
    append_row(batch, ids, Ids(ids.size(), 0), rule);
  }
  return batch;
}

ModelConfig config_of(const Case& c, Arch arch) {
  ModelConfig config = smallest_config(arch, c.param("max_seq_len", 64));
  config.bos_id = c.param("bos_token_id");
  config.eos_id = c.param("eos_token_id");
  config.sentinel_start = c.param("sentinel_start_id", -1);
  config.n_sentinels = c.param("num_sentinel_tokens", 100);
  if (c.params().contains("noise_density")) config.noise_density = json_number(c.params(), "noise_density", c.where);
  if (c.params().contains("mean_span_length")) {
    config.mean_span_length = json_number(c.params(), "mean_span_length", c.where);
  }
  return config;
}

void prepare(const ModelConfig& config, Batch& batch) {
  Rng rng(1, 0);
  smallest_model(config)->prepare(batch, rng);
}

void compare_rows(const Case& c, const Batch& batch) {
  for (int64_t row = 0; row < batch.rows; ++row) {
    TokenRange range{row * batch.length, (row + 1) * batch.length};
    c.compare("input_ids", slice(batch.ids, range), c.row("input_ids", static_cast<size_t>(row)));
    c.compare("labels", slice(batch.labels, range), c.row("labels", static_cast<size_t>(row)));
  }
}

void check_text(const Case& c) { compare_rows(c, text_rows(c)); }

// Boundaries are the random choice itself: rows and labels do not depend on them, and each recorded set must be one
// that our strategy can draw.
void check_blocks(const Case& c) {
  check_text(c);
  ModelConfig config = config_of(c, Arch::double_decoder);
  std::string strategy = json_string(c.params(), "boundary_strategy", c.where);
  if (!config.boundaries.parse(strategy)) {
    throw InputError({.what = "strategy that is not known", .where = c.where, .got = strategy});
  }
  config.max_blocks = c.param("max_blocks");
  if (c.json.contains("prompt_lengths")) {
    for (int32_t length : ids_of(c.json["prompt_lengths"], c.where)) {
      config.prompt_lengths.push_back(std::to_string(length));
    }
  }
  std::vector<Ids> drawn = drawn_boundaries(config, config.max_seq_len, 2000);
  std::sort(drawn.begin(), drawn.end());
  for (const Json& blocks : list_at(c.output(), "blocks_of_4_calls", c.where)) {
    Ids recorded = ids_of(blocks, c.where);
    // Few boundaries come up among our draws as they are; of many, number and range are compared.
    bool possible = std::binary_search(drawn.begin(), drawn.end(), recorded);
    if (!possible && recorded.size() > 1) {
      auto like = [&](const Ids& other) { return other.size() == recorded.size(); };
      bool count = std::any_of(drawn.begin(), drawn.end(), like);
      bool range = recorded.front() >= 2 && recorded.back() <= config.max_seq_len - 2;
      possible = count && range && std::is_sorted(recorded.begin(), recorded.end());
    }
    c.compare("blocks", {possible ? 0 : 1}, {0});
  }
}

// --- Conversations ---------------------------------------------------------------------------------------------------

// All of them in one row, as data packs them.
Batch conversation_row(const Case& c) {
  PackRule rule{.bos = static_cast<int32_t>(c.param("bos_token_id")),
                .eos = static_cast<int32_t>(c.param("eos_token_id")),
                .records = Records::conversations,
                .assistant = -1,
                .pad = static_cast<int32_t>(c.param("pad_token_id"))};
  std::vector<std::vector<uint32_t>> all;
  for (const Json& example : c.input()) {
    Ids ids{rule.bos};
    std::vector<Role> roles{Role::prompt};
    auto add = [&](const Ids& part, Role role) {
      ids.insert(ids.end(), part.begin(), part.end());
      roles.resize(ids.size(), role);
    };
    Ids response = ids_of(json_at(example, "output_ids", c.where), c.where);
    if (response.empty()) throw InputError({.what = "response without its role token", .where = c.where});
    rule.assistant = response[0];
    response.push_back(rule.eos);
    add(ids_of(json_at(example, "input_ids", c.where), c.where), Role::prompt);
    add(response, Role::response);
    all.push_back(mark_responses(ids, roles));
    rule.length += static_cast<int64_t>(ids.size());
  }
  ConversationPacker packer(rule);
  Batch batch = empty_batch(rule);
  for (const auto& conversation : all) packer.add(conversation);
  packer.append_to(batch);
  return batch;
}

// The sides of a batch against padded rows.
void compare_sides(const Case& c, const Batch& batch) {
  auto length = static_cast<size_t>(c.param("max_seq_len"));
  auto pad = static_cast<int32_t>(c.param("pad_token_id"));
  Ids blocks = ids_of(json_at(c.output(), "blocks", c.where), c.where);
  Ids read;
  for (size_t i = 0; i < batch.writer.blocks.size(); ++i) {
    const auto& [tokens, reads] = batch.writer.blocks[i];
    read.push_back(static_cast<int32_t>(reads.size()));
    c.compare("encoder_input_ids", padded(slice(batch.reader.ids, reads), length, pad), c.row("encoder_input_ids", i));
    // The double decoder's last token predicts nothing and nobody reads it: it is not computed.
    Ids written = slice(batch.writer.ids, tokens), labels = slice(batch.writer.labels, tokens);
    Ids theirs = c.row("decoder_input_ids", i), their_labels = c.row("labels", i);
    bool unread_end = theirs.size() > written.size() && theirs[written.size()] == c.param("eos_token_id") &&
                      their_labels[written.size()] == kIgnoreLabel;
    if (unread_end) written.push_back(theirs[written.size()]);
    c.compare("decoder_input_ids", padded(written, length, pad), theirs);
    c.compare("labels", padded(labels, length, kIgnoreLabel), their_labels);
    Ids positions = slice(batch.writer.positions, tokens), their_positions = c.row("decoder_input_positions", i);
    their_positions.resize(std::min(their_positions.size(), positions.size()));
    c.compare("decoder_input_positions", positions, their_positions);
  }
  c.compare("blocks", read, blocks);
}

void check_conversations(const Case& c, Arch arch) {
  Batch batch = conversation_row(c);
  ModelConfig config = config_of(c, arch);
  prepare(config, batch);
  compare_sides(c, batch);
}

void check_one_sided_conversations(const Case& c) {
  Batch batch = conversation_row(c);
  prepare(config_of(c, Arch::decoder), batch);
  auto length = static_cast<size_t>(c.param("max_seq_len"));
  std::vector<TokenRange> texts = batch.texts();
  for (size_t i = 0; i < batch.writer.blocks.size(); ++i) {
    TokenRange tokens = batch.writer.blocks[i].tokens;
    Ids ids = slice(batch.writer.ids, tokens);
    c.compare("computed ids", ids, slice(batch.ids, {texts[i].begin, texts[i].begin + tokens.size()}));
    c.compare("input_ids", padded(slice(batch.ids, texts[i]), length, static_cast<int32_t>(c.param("pad_token_id"))),
              c.row("input_ids", i));
    c.compare("labels", padded(slice(batch.writer.labels, tokens), length, kIgnoreLabel), c.row("labels", i));
  }
  c.compare("rows", {static_cast<int32_t>(batch.writer.blocks.size())},
            {static_cast<int32_t>(list_at(c.output(), "input_ids", c.where).size())});
}

void check_double_decoder_sft(const Case& c) { check_conversations(c, Arch::double_decoder); }
void check_encoder_decoder_sft(const Case& c) { check_conversations(c, Arch::encoder_decoder); }

// --- Prefixes and spans ----------------------------------------------------------------------------------------------

Batch split_rows(const Case& c) {
  Batch batch = text_rows(c);
  batch.objective = Objective::prefix_lm;
  batch.prefixes.assign(static_cast<size_t>(batch.rows), static_cast<int32_t>(json_int(c.json, "breakpoint", c.where)));
  return batch;
}

// The authors use one collator for two architectures.
void check_prefixes(const Case& c) {
  for (Arch arch : {Arch::double_decoder, Arch::encoder_decoder}) {
    Batch batch = split_rows(c);
    ModelConfig config = config_of(c, arch);
    config.decoder_positions = DecoderPositions::after_prompt;
    prepare(config, batch);
    compare_sides(c, batch);
  }
}

void check_one_sided_prefixes(const Case& c) {
  Batch batch = split_rows(c);
  prepare(config_of(c, Arch::decoder), batch);
  compare_rows(c, batch);
}

void check_spans(const Case& c) {
  Batch batch = text_rows(c);
  batch.objective = Objective::span_corruption;
  const Json none = Json::array();
  // Where none are recorded, there is only one choice.
  const Json& rows = c.json.contains("spans") ? list_at(c.json, "spans", c.where) : none;
  for (size_t row = 0; row < rows.size(); ++row) {
    int64_t first = static_cast<int64_t>(row) * batch.length;
    for (const Json& span : rows[row]) {
      Ids ends = ids_of(span, c.where);
      if (ends.size() != 2) throw InputError({.what = "span without two ends", .where = c.where});
      batch.spans.push_back({first + ends[0], first + ends[1]});
    }
  }
  prepare(config_of(c, Arch::encoder_decoder), batch);
  compare_sides(c, batch);
}

struct Kind {
  std::string_view collator;
  void (*check)(const Case& c);
};
constexpr std::array kKinds{Kind{"build_packed_dataset", check_packing},
                            Kind{"DDPretrainCollator", check_blocks},
                            Kind{"DecoderPretrainCollator", check_text},
                            Kind{"DDSFTCollator", check_double_decoder_sft},
                            Kind{"DecoderSFTCollator", check_one_sided_conversations},
                            Kind{"EDSFTCollator", check_encoder_decoder_sft},
                            Kind{"PrefixLMCollator", check_prefixes},
                            Kind{"DecoderPrefixLMCollator", check_one_sided_prefixes},
                            Kind{"EDPretrainCollator", check_spans}};

void check_case(ParityCollector& out, const Json& json, const std::string& file) {
  std::string name = json_string(json, "name", file);
  Case c{json, fmt::format("{}: {}", file, name), name, json_string(json, "class", file), out};
  auto kind = std::find_if(kKinds.begin(), kKinds.end(), [&](const Kind& k) { return k.collator == c.collator; });
  if (kind == kKinds.end()) {
    throw InputError({.what = "collator that is not supported", .where = c.where, .got = c.collator});
  }
  kind->check(c);
}

// {"2048": [449, ...], ...}: the boundaries of the authors' evaluation, by length.
void check_evaluation_blocks(ParityCollector& out, const fs::path& path) {
  std::string file = path.string();
  Json json = read_json(path);
  if (!json.is_object()) throw InputError({.what = "no boundaries by length", .where = file});
  for (const auto& [name, blocks] : json.items()) {
    bool number = name.find_first_not_of("0123456789") == std::string::npos && name.size() <= 6;
    int64_t length = number ? std::stoll(name) : 0;
    if (length < 1) throw InputError({.what = "not a length", .where = file, .got = name});
    ModelConfig config = smallest_config(Arch::double_decoder, length);
    config.boundaries.kind = BoundaryKind::by_length;
    const Case c{blocks, file, name, "evaluation blocks", out};
    c.compare("blocks", drawn_boundaries(config, length, 1)[0], ids_of(blocks, file));
  }
}

}  // namespace

bool has_golden_collators(const fs::path& folder) { return fs::exists(folder / "collators.json"); }

ParityReport check_collators(const fs::path& folder) {
  std::string file = (folder / "collators.json").string();
  Json cases = read_json(file);
  if (!cases.is_array() || cases.empty()) {
    throw InputError({.what = "no cases", .where = file, .expected = "a list of cases"});
  }
  ParityCollector out;
  for (const Json& json : cases) check_case(out, json, file);
  if (fs::exists(folder / "eval_blocks.json")) check_evaluation_blocks(out, folder / "eval_blocks.json");
  if (fs::exists(folder / "boundary_stats.json")) check_boundary_statistics(out, folder / "boundary_stats.json");
  if (fs::exists(folder / "span_stats.json")) check_span_statistics(out, folder / "span_stats.json");
  return out.report();
}

}  // namespace tandem
