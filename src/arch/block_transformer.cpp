#include "arch/block_transformer.h"

#include "arch/shared.h"
#include "arch/sides.h"
#include "base/error.h"
#include "ops/gather_rows.h"

namespace tandem {

BlockTransformer::BlockTransformer(const ModelConfig& config, const Precision& precision,
                                   ParameterStore::Gradients gradients)
    : Model(config),
      sizes_(block_sizes(config)),
      embedder_(parameters(), config),
      block_norm_(parameters(), "block_decoder.norm", config.dim, nn::NormKind::layernorm, config.output_norm_eps),
      tokens_(parameters(), config),
      layout_(config),
      wave_(sizes_, config.block) {
  nn::LayerShape shape = layer_shape(config);
  shape.norm_eps = config.output_norm_eps;
  for (int64_t i = 0; i < config.n_encoder_layers; ++i) {
    block_layers_.emplace_back(parameters(), fmt::format("block_decoder.layers.{}", i), shape);
  }
  parameters().allocate(precision, gradients);
  // As many blocks as a row has tokens: each may be a document of its own.
  if (sizes_.rotary_features > 0) {
    rotary_.build(config.max_seq_len + 1, sizes_.rotary_features, config.rope_base, config.rope_pairs,
                  precision.residual);
  }
  tokens_.build_tables(config, precision);
}

namespace {

// Tokens of one sequence as a pass has them.
struct Sequence {
  TokenRange tokens;
  std::vector<int64_t> documents;  // ends, counted from the sequence's first token
};

std::vector<Sequence> sequences_of(const Batch& batch) {
  std::vector<Sequence> sequences;
  if (batch.two_sided) {
    for (const WriterBlock& block : batch.writer.blocks) {
      sequences.push_back({block.tokens, {block.tokens.size()}});
    }
    return sequences;
  }
  for (const TokenRange& text : batch.texts()) {
    Sequence sequence{text, {}};
    for (int64_t t = text.begin + 1; t < text.end; ++t) {
      bool begins = batch.segments[static_cast<size_t>(t)] != batch.segments[static_cast<size_t>(t - 1)];
      if (begins) sequence.documents.push_back(t - text.begin);
    }
    sequence.documents.push_back(text.size());
    sequences.push_back(std::move(sequence));
  }
  return sequences;
}

}  // namespace

void BlockTransformer::prepare(Batch& batch, Rng& rng) const {
  check_objective(config(), batch);
  if (batch.objective == Objective::prefix_lm) {
    draw_prefixes(batch, rng);
    label_suffixes(batch, config());
  }
  if (batch.objective == Objective::conversation) lay_out_conversations(batch);
  std::vector<int32_t>& positions = batch.two_sided ? batch.writer.positions : batch.positions;
  std::vector<int32_t>& labels = batch.two_sided ? batch.writer.labels : batch.labels;
  auto draw = [&](int64_t n) { return static_cast<int64_t>(rng.below(static_cast<uint32_t>(n))); };
  for (const Sequence& sequence : sequences_of(batch)) {
    std::vector<int32_t> places = padded_positions(config(), sequence.documents, draw);
    for (size_t t = 0; t < places.size(); ++t) {
      size_t at = static_cast<size_t>(sequence.tokens.begin) + t;
      positions[at] = places[t];
      // The tokens of the first block are given.
      bool given = t + 1 < places.size() && places[t + 1] + sizes_.first_pads < sizes_.length;
      if (given) labels[at] = kIgnoreLabel;
    }
  }
}

Var BlockTransformer::decode_blocks(Tape& tape, std::span<const int32_t> slots, std::span<const TokenRange> filled,
                                    std::span<const int32_t> positions, const SpanPlan& plan, QueryOrder order,
                                    const PagePool* cache) {
  nn::Pass pass{positions, sizes_.rotary_features > 0 ? &rotary_.table() : nullptr, &plan};
  Var x = embedder_.forward(tape, slots, filled, order);
  static const std::string embed = "hidden.enc_embed";  // too long to be made in every pass without allocating
  seen(embed, x);
  for (size_t i = 0; i < block_layers_.size(); ++i) {
    nn::CacheColumns columns = cache ? pass_.layer(*cache, i) : nn::CacheColumns();
    x = block_layers_[i].forward(tape, x, pass, cache ? &columns : nullptr);
    seen(fmt::format("hidden.enc.{}", i), x);
  }
  x = block_norm_.forward(tape, x);
  seen("hidden.enc_norm", x);
  return x;
}

Var BlockTransformer::hidden(Tape& tape, const Batch& batch) {
  std::vector<TokenRange> ranges;
  for (const Sequence& sequence : sequences_of(batch)) ranges.push_back(sequence.tokens);
  layout_.build(batch.two_sided ? batch.writer.ids : batch.ids,
                batch.two_sided ? batch.writer.positions : batch.positions, ranges);
  check_labels(batch);
  Var blocks = decode_blocks(tape, layout_.slots, layout_.filled, layout_.block_positions, layout_.block_plan,
                             QueryOrder::automatic, nullptr);
  Var vectors = tokens_.expand(tape, ops::gather_activations(tape, {blocks, layout_.contexts}));
  std::vector<ops::KeyValueHeads> memory;
  tokens_.project(tape, vectors, memory);
  Var x = tokens_.forward(tape, {.rows = layout_.rows,
                                 .own = layout_.own_plan,
                                 .across = layout_.vector_plan,
                                 .vectors = vectors,
                                 .memory = memory,
                                 .seen = [this](const std::string& name, Var v) { seen(name, v); }});
  return ops::gather_activations(tape, {x, layout_.predictors});
}

void BlockTransformer::check_labels(const Batch& batch) const {
  std::span<const int32_t> labels = batch.loss_labels();
  for (size_t t = 0; t < labels.size(); ++t) {
    if (labels[t] == kIgnoreLabel || layout_.predictors[t] >= 0) continue;
    throw InputError({.what = "a token of a text's first block has a label, but nothing predicts it",
                      .where = fmt::format("token {}", t),
                      .hint = "block.first_block_pads = -1 leaves only the first token in that block"});
  }
}

double BlockTransformer::pass_share(PassKind kind, const Parameter& parameter) const {
  const std::string& name = parameter.name();
  bool table = name == "embedder.embedding.weight" ||
               (name == "token_decoder.embedding.weight" && &parameter != &output_table());
  bool of_blocks = name.starts_with("embedder.") || name.starts_with("block_decoder.");
  if (table) return kind == PassKind::read ? 0 : 1 / static_cast<double>(config().vocab_size);  // one row
  if (kind == PassKind::read) return of_blocks ? 1 : 0;
  return of_blocks || name.starts_with("expansion.") ? 1 / static_cast<double>(sizes_.length) : 1;
}

Costs BlockTransformer::costs() const {
  const ModelConfig& c = config();
  LayerCosts layer = layer_costs(c);
  auto layers = static_cast<double>(c.n_encoder_layers), length = static_cast<double>(sizes_.length);
  double head = 2.0 * static_cast<double>(c.vocab_size * sizes_.token_dim);
  // Blocks in a row.
  double context = static_cast<double>(c.max_seq_len) / length;
  double around = embedder_.flops_per_block() + tokens_.flops_per_block();
  auto per_token = [&](double keys) {
    return (layers * (layer.matrices + layer.attention_per_key * keys) + around) / length + head;
  };
  Costs costs;
  costs.flops_per_training_token = 3 * per_token(context / 2);
  costs.flops_per_generated_token = per_token(context);
  costs.flops_per_prompt_token =
      (layers * (layer.matrices + layer.attention_per_key * context / 2) + embedder_.flops_per_block()) / length;
  // The tokens of the block being written come on top, whatever the length of the prompt.
  costs.cache_bytes_per_token = layers * layer.cache_bytes(parameters().precision()) / length;
  costs.cache_bytes_with_encoder = costs.cache_bytes_per_token;
  costs.cache_bytes_at_rest = costs.cache_bytes_per_token;
  return costs;
}

}  // namespace tandem
