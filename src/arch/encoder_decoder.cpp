#include "arch/encoder_decoder.h"

#include <algorithm>
#include <cstring>

#include "arch/plans.h"
#include "arch/shared.h"
#include "arch/sides.h"
#include "arch/span_corruption.h"
#include "arch/state_archive.h"
#include "base/error.h"
#include "ops/embedding.h"
#include "ops/rmsnorm.h"
#include "ops/select_rows.h"

namespace tandem {

CrossAttention::CrossAttention(ParameterStore& store, const std::string& prefix, const nn::LayerShape& shape)
    : shape_(shape),
      norm_(store.add(prefix + ".norm2.weight", {shape.dim}, MupGroup::vector, Initial::ones)),
      q_(store, prefix + ".cross_attention.q", shape.q_dim(), shape.dim, shape.biases),
      kv_(store, prefix + ".cross_attention.kv", 2 * shape.kv_dim(), shape.dim, shape.biases),
      out_(store, prefix + ".cross_attention.out", shape.dim, shape.q_dim(), shape.biases) {}

ops::KeyValueHeads CrossAttention::project(Tape& tape, Var memory, std::span<const int32_t> positions,
                                           const ops::RopeTable* rope) const {
  Var kv = kv_.forward(tape, memory);
  ops::HeadColumns k{0, shape_.kv_heads, shape_.head_dim};
  ops::HeadColumns v{k.end(), shape_.kv_heads, shape_.head_dim};
  if (rope) ops::rope_in_place(tape, kv, k, positions, *rope);
  return {{kv, k}, {kv, v}};
}

Var CrossAttention::attend(Tape& tape, Var x, const ops::KeyValueHeads& memory, const nn::Pass& pass) const {
  Var normed = ops::rmsnorm(tape, x, norm_.weight(), shape_.norm_eps);
  ops::Heads q{q_.forward(tape, normed), {0, shape_.heads, shape_.head_dim}};
  if (pass.rope) ops::rope_in_place(tape, q.var, q.columns, pass.positions, *pass.rope);
  ops::AttentionOutput attended = ops::span_attention(tape, q, {&memory, 1}, *pass.plan, shape_.attention_scale);
  return out_.add_to(tape, x, attended.o);
}

namespace {

class EncoderDecoderCaches final : public Caches {
 public:
  EncoderDecoderCaches(const CacheOptions& options, const std::vector<PagePool::Column>& columns,
                       const std::vector<PagePool::Column>& output_columns)
      : Caches(options),
        memory(budget_, columns, options.tokens),
        outputs(budget_, output_columns, options.tokens),
        own(budget_, columns, options.tokens) {}
  PagePool memory;   // per decoder layer: keys and values of the encoder's output
  PagePool outputs;  // the encoder's output
  PagePool own;      // per decoder layer: of BOS and the tokens behind it
};

class EncoderDecoderState final : public State {
 public:
  EncoderDecoderState(EncoderDecoderCaches& all, const ModelConfig& config)
      : caches(&all), config_(&config), memory(all, all.memory, all.outputs), own(all.own) {}
  EncoderDecoderCaches* caches;
  const ModelConfig* config_;
  MemoryRows memory;
  PagedRows own;
  std::vector<int32_t> read_ids;
  std::vector<int32_t> own_ids;  // without the BOS that was put in front
  int64_t turned_for = 0;        // the length whose rotary base the rows of `own` were computed with
  bool opened_the_text = false;  // the first token of own_ids is that of read_ids

  bool counts_on() const { return config_->decoder_positions == DecoderPositions::after_prompt; }
  int64_t first_position() const { return counts_on() && !opened_the_text ? memory.length() : 0; }
  // Whether BOS stands before the first of own_ids, and not in its place; `first`: the one to come where there is none.
  bool bos_in_front(int32_t first) const {
    if (own.length() > 0) return own.length() > written();
    return !opened_the_text && first != config_->bos_id;
  }
  // Whether what was written has to be computed once more when the block gets `rows` rows.
  bool turns_otherwise(int64_t rows) const {
    return own.length() > 0 && config_->rope_base_at(first_position() + rows) != config_->rope_base_at(turned_for);
  }
  int64_t written() const override { return static_cast<int64_t>(own_ids.size()); }
  int64_t length() const override { return memory.length() + written() - (opened_the_text ? 1 : 0); }
  StateBytes token_bytes() const override { return memory.token_bytes(own, 0); }
  StateBytes page_bytes() const override { return memory.page_bytes(own, 0); }
  std::unique_ptr<State> fork() const override { return std::make_unique<EncoderDecoderState>(*this); }
  bool unshare() override { return memory.unshare() && own.unshare(); }
  void unwrite(int64_t count) override {
    if (count == 0) return;
    own_ids.resize(own_ids.size() - static_cast<size_t>(count));
    // BOS comes again with the next first token.
    own.trim(own_ids.empty() ? 0 : own.length() - count);
  }
  bool keep_read(int64_t length) override { return length == memory.length(); }
  std::vector<int32_t> unread_block() const override {
    std::vector<int32_t> unread = own_ids;
    if (opened_the_text && !unread.empty()) unread.erase(unread.begin());
    return unread;
  }
  void close_block() override {
    own.trim(0);
    own_ids.clear();
    opened_the_text = false;
  }
  void rest() override { memory.rest(); }
  bool resting() const override { return memory.resting(); }
  int64_t end_of_read(int64_t count) const override { return memory.length() + count; }
  int64_t end_of_write(int64_t count) const override {
    bool unread = memory.length() == 0;
    int64_t rows = own.length() > 0 || unread ? own.length() + count : count + 1;
    return unread ? rows : first_position() + rows;
  }
  // All that was read is read again, into pages that are nobody else's.
  bool reserve_read(int64_t count) override { return (count == 0 || memory.unshare()) && memory.reserve(count); }
  bool reserve_write(int64_t count) override {
    if (count == 0) return memory.reserve(0);
    // The base only grows with the length: where it is the same at both ends it is the same in between.
    bool rewrites = turns_otherwise(own.length() + 1) || turns_otherwise(own.length() + count);
    if (rewrites && !own.unshare()) return false;
    own_ids.reserve(own_ids.size() + static_cast<size_t>(count));
    return own.reserve(count + 1) && memory.reserve(memory.length() > 0 ? 0 : 1);
  }
  void transfer(StateArchive& archive) override {
    archive.ids(read_ids);
    archive.ids(own_ids);
    memory.transfer(archive);
    archive.rows(own);
    int64_t opened = opened_the_text ? 1 : 0;
    archive.number(opened, 0, 1);
    opened_the_text = opened == 1;
    auto written_ids = static_cast<int64_t>(own_ids.size());
    // Which stands before the first id, or for it.
    int64_t bos = own_ids.empty() || opened_the_text || own_ids.front() == config_->bos_id ? 0 : 1;
    archive.require(memory.length() == static_cast<int64_t>(read_ids.size()), "another number of tokens than of ids");
    archive.require(own.length() == written_ids + bos, "another number of tokens than of ids");
    archive.require(!opened_the_text || memory.length() == 1, "a text that was opened and read on");
    archive.require(written_ids == 0 || memory.length() > 0, "something written and nothing read");
    if (config_->rope_ntk_factor > 1) archive.number(turned_for, 0, config_->max_seq_len);
  }
  bool reserve(int64_t read, int64_t write) override { return reserve_read(read) && reserve_write(write); }
};

std::span<const int32_t> slice(const std::vector<int32_t>& list, const TokenRange& range) {
  return std::span(list).subspan(static_cast<size_t>(range.begin), static_cast<size_t>(range.size()));
}

EncoderDecoderState& state_of(const Piece& piece) { return static_cast<EncoderDecoderState&>(*piece.state); }

}  // namespace

EncoderDecoder::EncoderDecoder(const ModelConfig& config, const Precision& precision,
                               ParameterStore::Gradients gradients)
    : Model(config),
      embedding_(parameters().add("embedding.weight", {config.vocab_size, config.dim}, MupGroup::embedding,
                                  Initial::xavier_uniform)),
      encoder_norm_(parameters(), "encoder_norm", config.dim, config.output_norm, config.output_norm_eps),
      output_norm_(parameters(), "output_norm", config.dim, config.output_norm, config.output_norm_eps) {
  nn::LayerShape shape = layer_shape(config);
  for (int64_t i = 0; i < config.n_encoder_layers; ++i) {
    encoder_.emplace_back(parameters(), fmt::format("encoder_layers.{}", i), shape);
  }
  for (int64_t i = 0; i < config.n_decoder_layers; ++i) {
    decoder_.emplace_back(parameters(), fmt::format("decoder_layers.{}", i), shape);
  }
  parameters().allocate(precision, gradients);
  rotary_.build(config.max_seq_len, config.head_size(), config.rope_base, config.rope_pairs, precision.residual);
}

void EncoderDecoder::prepare(Batch& batch, Rng& rng) const {
  check_objective(config(), batch);
  switch (batch.objective) {
    case Objective::prefix_lm:
      draw_prefixes(batch, rng);
      lay_out_prefixes(batch, config(), config().decoder_positions == DecoderPositions::after_prompt);
      return;
    case Objective::conversation: return lay_out_turns(batch, config());
    case Objective::span_corruption:
    case Objective::text: break;  // check_objective() refuses text
  }
  draw_spans(batch, config(), rng);
  lay_out_spans(batch, config());
}

Var EncoderDecoder::encode(Tape& tape, std::span<const int32_t> ids, bool gathered) {
  nn::Pass pass = encoder_turns_.pass(config(), rotary_, encoder_plan_);
  Var x = ops::embedding(tape, embedding_.table(), ids);
  static const std::string embed = "hidden.enc_embed";  // too long to be made in every pass without allocating
  seen(embed, x);
  for (size_t i = 0; i < encoder_.size(); ++i) {
    nn::CacheColumns columns = gathered ? pass_.no_cache() : nn::CacheColumns();
    x = encoder_[i].forward(tape, x, pass, gathered ? &columns : nullptr);
    seen(fmt::format("hidden.enc.{}", i), x);
  }
  x = encoder_norm_.forward(tape, x);
  seen("hidden.enc_norm", x);
  return x;
}

Var EncoderDecoder::decode_layers(Tape& tape, std::span<const int32_t> ids, std::span<const int32_t> positions,
                                  std::span<const ops::KeyValueHeads> memory, const PagePool* cache) {
  nn::Pass own = own_turns_.pass(config(), rotary_, own_plan_), reads{positions, cross_rope(), &memory_plan_};
  Var x = ops::embedding(tape, embedding_.table(), ids);
  static const std::string embed = "hidden.dec_embed";  // too long to be made in every pass without allocating
  if (!cache) seen(embed, x);                           // a training pass
  for (size_t i = 0; i < decoder_.size(); ++i) {
    nn::CacheColumns columns = cache ? pass_.layer(*cache, i) : nn::CacheColumns();
    x = decoder_[i].forward(tape, x, memory[i], own, reads, cache ? &columns : nullptr);
    if (!cache) seen(fmt::format("hidden.dec.{}", i), x);
  }
  x = output_norm_.forward(tape, x);
  if (!cache) seen("hidden.out_norm", x);
  return x;
}

Var EncoderDecoder::hidden(Tape& tape, const Batch& batch) {
  if (!batch.two_sided) throw LogicError({.what = "encoder_decoder: the batch was not prepared"});
  plan_bidirectional(encoder_plan_, batch.reader.sequences);
  plan_own_blocks(own_plan_, batch.writer.blocks);
  plan_reads(memory_plan_, batch.writer.blocks);
  encoder_turns_.clear();
  own_turns_.clear();
  for (const TokenRange& s : batch.reader.sequences) encoder_turns_.add(slice(batch.reader.positions, s));
  for (const WriterBlock& b : batch.writer.blocks) own_turns_.add(slice(batch.writer.positions, b.tokens));
  Var memory = encode(tape, batch.reader.ids, false);
  std::vector<ops::KeyValueHeads> projected;
  for (const CrossDecoderLayer& layer : decoder_) {
    projected.push_back(layer.cross.project(tape, memory, batch.reader.positions, cross_rope()));
  }
  return decode_layers(tape, batch.writer.ids, batch.writer.positions, projected, nullptr);
}

std::unique_ptr<Caches> EncoderDecoder::new_caches(const CacheOptions& options) const {
  DType type = parameters().precision().activation;
  return std::make_unique<EncoderDecoderCaches>(
      options, key_value_columns(type, config().n_decoder_layers, config().kv_heads(), config().head_size()),
      output_columns(type, config().dim));
}

std::unique_ptr<State> EncoderDecoder::new_state(Caches& caches) const {
  return std::make_unique<EncoderDecoderState>(static_cast<EncoderDecoderCaches&>(caches), config());
}

void EncoderDecoder::read_pieces(Tape& tape, std::span<const Piece> pieces) {
  pass_.clear();
  encoder_turns_.clear();
  encoder_plan_.clear(1);
  memory_slots_.clear();
  for (const Piece& piece : pieces) {
    if (piece.ids.empty()) continue;
    EncoderDecoderState& state = state_of(piece);
    state.read_ids.insert(state.read_ids.end(), piece.ids.begin(), piece.ids.end());
    int64_t first = pass_.add(state.read_ids, 0);
    encoder_turns_.add(slice(pass_.positions, {first, pass_.size()}));
    auto count = static_cast<int64_t>(state.read_ids.size());
    pass_.read_once(encoder_plan_, count, /*causal=*/false);
    state.caches->counts().recomputed += state.memory.length();
    state.memory.trim(0);
    state.memory.reserve(count);  // succeeds: the pages for it were there a moment ago
    state.memory.append(count, memory_slots_);
  }
  if (pass_.size() == 0) return;
  Var memory = encode(tape, pass_.ids, true);
  keep_memory(tape, memory, pass_.positions, state_of(pieces.front()).memory.projected().pool(), memory_slots_);
  int64_t row = 0;
  for (const Piece& piece : pieces) {
    if (piece.ids.empty()) continue;
    MemoryRows& rows = state_of(piece).memory;
    rows.keep(memory->value.slice_rows(row, row + rows.length()));
    row += rows.length();
  }
}

void EncoderDecoder::keep_memory(Tape& tape, Var memory, std::span<const int32_t> positions, const PagePool& pool,
                                 std::span<const int32_t> slots) const {
  for (size_t i = 0; i < decoder_.size(); ++i) {
    keep_heads(tape, pool, i, slots, decoder_[i].cross.project(tape, memory, positions, cross_rope()));
  }
}

void EncoderDecoder::wake_states(Tape& tape, std::span<State* const> states) {
  waking_.clear();
  for (State* state : states) waking_.add(static_cast<EncoderDecoderState*>(state)->memory);
  const PagePool& pool = static_cast<EncoderDecoderState*>(states.front())->memory.projected().pool();
  keep_memory(tape, waking_.vectors(tape), waking_.positions(), pool, waking_.slots());
}

void EncoderDecoder::write_pieces(Tape& tape, std::span<const Piece> pieces, const Tensor& logits) {
  check_document_tokens(config());
  std::vector<Piece> unread;
  for (const Piece& piece : pieces) {
    if (state_of(piece).memory.length() == 0) unread.push_back({piece.state, piece.ids.first(1)});
  }
  if (!unread.empty()) read_pieces(tape, unread);
  for (const Piece& piece : unread) state_of(piece).opened_the_text = true;
  auto one = [](const Piece& piece) { return piece.ids.size() == 1; };
  if (config().rope_ntk_factor <= 1 || std::all_of(pieces.begin(), pieces.end(), one)) {
    return write_round(tape, pieces, logits);
  }
  // The rows of the logits are those of whole pieces.
  written_.assign(pieces.size(), 0);
  for (;;) {
    round_.clear();
    round_rows_.clear();
    int64_t row = 0;
    for (size_t i = 0; i < pieces.size(); ++i) {
      const EncoderDecoderState& state = state_of(pieces[i]);
      std::span<const int32_t> left = pieces[i].ids.subspan(written_[i]);
      if (!left.empty()) {
        int64_t rows = state.first_position() + state.own.length() + (state.bos_in_front(left.front()) ? 1 : 0);
        auto room = static_cast<size_t>(std::max<int64_t>(1, config().ntk_length() - rows));
        left = left.first(std::min(left.size(), room));
        round_.push_back({pieces[i].state, left});
        for (size_t t = 0; t < left.size(); ++t) round_rows_.push_back(row + static_cast<int64_t>(written_[i] + t));
        written_[i] += left.size();
      }
      row += static_cast<int64_t>(pieces[i].ids.size());
    }
    if (round_.empty()) return;
    Tensor part = tape.arena().tensor(logits.dtype, {static_cast<int64_t>(round_rows_.size()), logits.row_size()});
    write_round(tape, round_, part);
    for (size_t i = 0; i < round_rows_.size(); ++i) {
      std::memcpy(logits.row<float>(round_rows_[i]), part.row<float>(static_cast<int64_t>(i)),
                  static_cast<size_t>(part.row_size()) * sizeof(float));
    }
  }
}

void EncoderDecoder::write_round(Tape& tape, std::span<const Piece> pieces, const Tensor& logits) {
  pass_.clear();
  own_turns_.clear();
  own_plan_.clear(1);
  memory_plan_.clear(1);
  memory_plan_.order = QueryOrder::by_query;
  wanted_.clear();
  if (config().rope_ntk_factor > 1) {  // whole blocks pass again and again, a token longer each time
    int64_t most = static_cast<int64_t>(pieces.size()) * config().max_seq_len;
    pass_.reserve(most);
    own_turns_.reserve(most);
    row_ids_.reserve(static_cast<size_t>(config().max_seq_len));
  }
  for (const Piece& piece : pieces) {
    EncoderDecoderState& state = state_of(piece);
    int64_t in_front = state.bos_in_front(piece.ids.front()) ? 1 : 0;
    state.own_ids.insert(state.own_ids.end(), piece.ids.begin(), piece.ids.end());
    int64_t rows = state.written() + in_front;  // of the block
    bool again = state.turns_otherwise(rows);
    int64_t first_row = again ? 0 : state.own.length();
    row_ids_.clear();
    for (int64_t r = first_row; r < rows; ++r) {
      row_ids_.push_back(r == 0 ? static_cast<int32_t>(config().bos_id)
                                : state.own_ids[static_cast<size_t>(r - in_front)]);
    }
    int64_t first = pass_.add(row_ids_, state.first_position() + first_row), end = pass_.size();
    own_turns_.add(slice(pass_.positions, {first, end}));
    for (int64_t t = end - static_cast<int64_t>(piece.ids.size()); t < end; ++t) {
      wanted_.push_back(static_cast<int32_t>(t));
    }
    int64_t fresh = rows - state.own.length();
    if (again) {
      pass_.write_again(own_plan_, 0, state.own, fresh);
    } else {
      pass_.write_causal(own_plan_, 0, state.own, fresh);
    }
    state.turned_for = state.first_position() + rows;
    memory_plan_.add_run(first, end);
    add_paged_spans(memory_plan_, 0, state.memory.projected(), first, 0);
  }
  const EncoderDecoderState& any = state_of(pieces.front());
  memory_heads_.clear();
  for (size_t i = 0; i < decoder_.size(); ++i)
    memory_heads_.push_back(layer_heads(tape, any.memory.projected().pool(), i));
  Var x = decode_layers(tape, pass_.ids, pass_.positions, memory_heads_, &any.own.pool());
  bool all = static_cast<int64_t>(wanted_.size()) == pass_.size();
  logits_of(tape, all ? x : ops::select_rows(tape, x, wanted_), logits);
}

double EncoderDecoder::pass_share(PassKind kind, const Parameter& parameter) const {
  const std::string& name = parameter.name();
  bool reading = name.starts_with("encoder_") || name.find(".cross_attention.kv.") != std::string::npos;
  return reading == (kind == PassKind::read) ? 1 : 0;
}

Costs EncoderDecoder::costs() const {
  const ModelConfig& c = config();
  auto encoder = static_cast<double>(c.n_encoder_layers), decoder = static_cast<double>(c.n_decoder_layers);
  LayerCosts layer = layer_costs(c);
  double head = 2.0 * static_cast<double>(c.vocab_size * c.dim);
  auto context = static_cast<double>(c.max_seq_len);
  // Of a row's tokens a share is replaced: the encoder reads the others and the sentinels, the decoder writes the share
  // and the sentinels.
  double sentinels = c.noise_density / c.mean_span_length;
  double read = 1 - c.noise_density + sentinels, written = c.noise_density + sentinels;
  // A second attention without a key/value projection of its own for each written token.
  double cross = layer.q_and_out;
  double forward = read * encoder * (layer.matrices + layer.attention_per_key * read * context) +
                   read * decoder * layer.kv_projection +
                   written * decoder *
                       (layer.matrices + cross + layer.attention_per_key * (written * context / 2 + read * context)) +
                   written * head;
  Costs costs;
  costs.flops_per_training_token = 3 * forward;
  costs.flops_per_generated_token = decoder * (layer.matrices + cross + layer.attention_per_key * context) + head;
  costs.flops_per_prompt_token =
      encoder * (layer.matrices + layer.attention_per_key * context) + decoder * layer.kv_projection;
  double per_layer = layer.cache_bytes(parameters().precision());
  costs.cache_bytes_per_token = decoder * per_layer;
  // Both directions are read: a longer prompt is read anew, and no state of the encoder helps.
  costs.cache_bytes_with_encoder = costs.cache_bytes_per_token;
  costs.cache_bytes_at_rest = static_cast<double>(c.dim * dtype_bytes(parameters().precision().activation));
  return costs;
}

}  // namespace tandem
