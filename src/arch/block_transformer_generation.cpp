// Generation with a block transformer. Of a sequence's blocks the caches keep the block decoder's keys and values; of
// the block being written, and of no other, the token decoder's.
//
// The block decoder reads a block when the first token behind it is asked for: once per block, since what it gives is
// then in the token decoder's cache. Where that cache is dropped (a block was left by unwriting, or more was read) the
// last complete block is read once more.
#include <algorithm>

#include "arch/block_transformer.h"
#include "arch/state_archive.h"
#include "base/error.h"
#include "kernels/copy_rows.h"
#include "ops/gather_rows.h"

namespace tandem {
namespace {

class BlockTransformerCaches final : public Caches {
 public:
  // Address space for the last page of each sequence, which is its own however short the sequences are.
  static constexpr int64_t kLastPages = 256;

  BlockTransformerCaches(const CacheOptions& options, int64_t block_length,
                         const std::vector<PagePool::Column>& block_columns,
                         const std::vector<PagePool::Column>& own_columns,
                         const std::vector<PagePool::Column>& vector_columns)
      : Caches(options),
        blocks(budget_, block_columns, options.tokens / block_length + kLastPages * kPageTokens),
        own(budget_, own_columns, options.tokens + kLastPages * kPageTokens),
        vectors(budget_, vector_columns, options.tokens + kLastPages * kPageTokens) {}
  PagePool blocks;   // per layer of the block decoder: a row for each block
  PagePool own;      // per layer of the token decoder: rows of the block being written
  PagePool vectors;  // what the block decoder's output became: as it is, or projected for each layer; or nothing
};

class BlockTransformerState final : public State {
 public:
  BlockTransformerState(BlockTransformerCaches& caches, const BlockSizes& block_sizes, bool keep_vectors)
      : blocks(caches.blocks),
        own(caches.own),
        vectors(caches.vectors),
        sizes(block_sizes),
        keeps_vectors(keep_vectors) {}
  PagedRows blocks;
  PagedRows own;
  PagedRows vectors;
  BlockSizes sizes;
  bool keeps_vectors;
  std::vector<int32_t> ids;
  int64_t own_block = -1;  // the block whose rows `own` holds, that of the next token; -1: none
  int64_t block = 0;       // tokens written since the last reading

  // The block in which token t stands; blocks before it are complete when there are t tokens.
  int64_t block_of(int64_t t) const { return (t + sizes.first_pads) / sizes.length; }
  int64_t offset_of(int64_t t) const { return (t + sizes.first_pads) % sizes.length; }

  int64_t length() const override { return static_cast<int64_t>(ids.size()); }
  int64_t written() const override { return block; }
  StateBytes token_bytes() const override {
    return StateBytes::of_one_form(blocks.bytes() + own.bytes() + vectors.bytes());
  }
  StateBytes page_bytes() const override {
    return StateBytes::of_one_form(blocks.page_bytes() + own.page_bytes() + vectors.page_bytes());
  }
  std::unique_ptr<State> fork() const override { return std::make_unique<BlockTransformerState>(*this); }
  bool unshare() override { return blocks.unshare() && own.unshare() && vectors.unshare(); }

  // Drops what is held of the open block, and the last complete one, whose reading gives it again.
  void leave_block() {
    if (own_block >= 0) {
      own.trim(0);
      vectors.trim(0);
      own_block = -1;
    }
    int64_t known = std::max<int64_t>(block_of(length()) - 1, 0);
    if (blocks.length() > known) blocks.trim(known);
  }
  void unwrite(int64_t count) override {
    count = std::min(count, block);
    if (count == 0) return;
    ids.resize(ids.size() - static_cast<size_t>(count));
    block -= count;
    if (own_block != block_of(length())) return leave_block();
    own.trim(sizes.leading + offset_of(length()));
  }
  // What was written is kept in the same place as what was read.
  bool keep_read(int64_t length) override {
    ids.resize(static_cast<size_t>(std::min(length, this->length())));
    leave_block();
    return true;
  }
  std::vector<int32_t> unread_block() const override { return {}; }
  void close_block() override { block = 0; }
  int64_t end_of_read(int64_t count) const override { return length() + count; }
  int64_t end_of_write(int64_t count) const override { return length() + count; }
  bool reserve_read(int64_t count) override {
    return blocks.reserve(std::max<int64_t>(block_of(length() + count) - blocks.length(), 0));
  }
  bool reserve_write(int64_t count) override {
    if (count == 0) return reserve_read(0);
    if (!reserve_read(count)) return false;
    ids.reserve(ids.size() + static_cast<size_t>(count));  // nothing is asked of the system while tokens come
    // The rows of a block fit into a page, which is this sequence's own from now on, also when another block begins.
    bool enough = own.reserve(std::max<int64_t>(sizes.token_rows() - own.length(), 1)) &&
                  (!keeps_vectors || vectors.reserve(std::max<int64_t>(sizes.expansion - vectors.length(), 1)));
    if (!enough) blocks.trim(blocks.length());
    return enough;
  }
  void transfer(StateArchive& archive) override {
    archive.ids(ids);
    archive.rows(blocks);
    archive.rows(own);
    archive.rows(vectors);
    archive.number(block, 0, length());
    int64_t here = block_of(length());
    archive.number(own_block, -1, here);
    bool open = own_block >= 0;
    archive.require(!open || (own_block == here && here > 0), "a block that is not the next token's");
    archive.require(open ? blocks.length() == here : blocks.length() <= std::max<int64_t>(here - 1, 0),
                    "another number of blocks than of ids");
    archive.require(own.length() == (open ? sizes.leading + offset_of(length()) : 0), "rows of another block");
    archive.require(vectors.length() == (open && keeps_vectors ? sizes.expansion : 0), "vectors of another block");
  }
  void open_block(int64_t number) {
    own.trim(0);
    vectors.trim(0);
    bool room = own.reserve(sizes.token_rows()) && (!keeps_vectors || vectors.reserve(sizes.expansion));
    if (!room) throw LogicError({.what = "block_transformer: the page of the last block is gone"});
    own_block = number;
  }
};

BlockTransformerState& state_of(const Piece& piece) { return static_cast<BlockTransformerState&>(*piece.state); }

}  // namespace

void BlockTransformer::Wave::clear() {
  rows.clear();
  for (SpanPlan* plan : {&own, &across}) {
    plan->clear(1);
    plan->order = QueryOrder::by_query;
  }
  for (auto* list : {&kept_vectors, &slots, &wanted, &targets}) list->clear();
}

std::unique_ptr<Caches> BlockTransformer::new_caches(const CacheOptions& options) const {
  DType type = parameters().precision().activation;
  std::vector<PagePool::Column> vectors;
  if (config().block.token_decoder == TokenDecoder::summation) vectors = {{type, 1, sizes_.token_dim}};
  if (tokens_.attends_across()) {
    vectors = key_value_columns(type, tokens_.layers(), sizes_.token_heads, sizes_.token_head_dim);
  }
  return std::make_unique<BlockTransformerCaches>(
      options, sizes_.length,
      key_value_columns(type, config().n_encoder_layers, config().kv_heads(), config().head_size()),
      key_value_columns(type, tokens_.layers(), sizes_.token_heads, tokens_.own_head_size()), vectors);
}

std::unique_ptr<State> BlockTransformer::new_state(Caches& caches) const {
  return std::make_unique<BlockTransformerState>(static_cast<BlockTransformerCaches&>(caches), sizes_,
                                                 config().block.token_decoder != TokenDecoder::prefix);
}

Var BlockTransformer::extend_blocks(Tape& tape, std::span<const Piece> pieces, QueryOrder order) {
  pass_.clear();
  plan_.clear(1);
  slots_.clear();
  filled_.clear();
  for (size_t i = 0; i < pieces.size(); ++i) {
    BlockTransformerState& state = state_of(pieces[i]);
    int64_t first = state.blocks.length(), count = ends_[i] - first;
    if (count <= 0) continue;
    for (int64_t slot = first * sizes_.length; slot < ends_[i] * sizes_.length; ++slot) {
      int64_t t = slot - sizes_.first_pads;
      slots_.push_back(t < 0 ? static_cast<int32_t>(sizes_.pad_id) : state.ids[static_cast<size_t>(t)]);
    }
    for (int64_t b = first; b < ends_[i]; ++b) filled_.push_back({b == 0 ? sizes_.first_pads : 0, sizes_.length});
    pass_.add_rows(count, first);
    if (order == QueryOrder::by_tile) {
      pass_.read_causal(plan_, state.blocks, count);
    } else {
      pass_.write_causal(plan_, 0, state.blocks, count);
    }
  }
  if (pass_.size() == 0) return nullptr;
  // Whatever the way of the layers, a block's vector is made in one way.
  return decode_blocks(tape, slots_, filled_, pass_.positions, plan_, QueryOrder::by_query,
                       &state_of(pieces.front()).blocks.pool());
}

void BlockTransformer::read_pieces(Tape& tape, std::span<const Piece> pieces) {
  ends_.clear();
  for (const Piece& piece : pieces) {
    BlockTransformerState& state = state_of(piece);
    state.ids.insert(state.ids.end(), piece.ids.begin(), piece.ids.end());
    if (!piece.ids.empty()) state.leave_block();
    // The last complete block is left to the first token that is written.
    ends_.push_back(piece.ids.empty() ? 0 : state.block_of(state.length()) - 1);
  }
  extend_blocks(tape, pieces, QueryOrder::by_tile);
}

void BlockTransformer::begin_writing(std::span<const Piece> pieces) {
  for (const Piece& piece : pieces) {
    const BlockTransformerState& state = state_of(piece);
    if (state.block_of(state.length() + 1) > 0) continue;
    throw InputError({.what = "a prompt that does not fill the first block",
                      .where = fmt::format("block.first_block_pads = {}", sizes_.first_pads),
                      .got = fmt::format("{} tokens", state.length() + 1),
                      .expected = fmt::format("at least {}", sizes_.length - sizes_.first_pads)});
  }
  reaches_.clear();
  int64_t row = 0, vectors = 0;
  for (const Piece& piece : pieces) {
    BlockTransformerState& state = state_of(piece);
    auto count = static_cast<int64_t>(piece.ids.size());
    Reach reach{.first_token = state.length(), .row = row};
    state.ids.insert(state.ids.end(), piece.ids.begin(), piece.ids.end());
    state.block += count;
    reach.next_block = state.block_of(reach.first_token + 1);
    reach.last_block = state.block_of(state.length());
    reach.first_known = reach.next_block + (state.own_block == reach.next_block ? 1 : 0);
    reach.vectors = vectors;
    vectors += std::max<int64_t>(reach.last_block + 1 - reach.first_known, 0);
    row += count;
    reaches_.push_back(reach);
  }
}

Var BlockTransformer::vectors_of(Tape& tape, std::span<const Piece> pieces) {
  ends_.clear();
  contexts_.clear();
  int32_t read = 0;  // blocks of the pieces before
  for (size_t i = 0; i < pieces.size(); ++i) {
    const Reach& reach = reaches_[i];
    int64_t first = state_of(pieces[i]).blocks.length();
    // The output of block b - 1 predicts block b.
    for (int64_t b = reach.first_known; b <= reach.last_block; ++b) {
      contexts_.push_back(read + static_cast<int32_t>(b - 1 - first));
    }
    ends_.push_back(reach.last_block);
    read += static_cast<int32_t>(std::max<int64_t>(reach.last_block - first, 0));
  }
  Var blocks = extend_blocks(tape, pieces, QueryOrder::by_query);
  if (contexts_.empty()) return nullptr;
  return tokens_.expand(tape, ops::gather_activations(tape, {blocks, contexts_}));
}

void BlockTransformer::add_to_wave(const Piece& piece, Reach& reach) {
  BlockTransformerState& state = state_of(piece);
  const int64_t number = reach.next_block++, first_row = wave_.rows.size();
  const bool begins = state.own_block != number;
  const int64_t first_slot = number * sizes_.length - sizes_.first_pads;  // as a token's number
  places_.clear();
  if (begins) {
    state.open_block(number);
    auto vector = static_cast<int32_t>((reach.vectors + number - reach.first_known) * sizes_.expansion);
    for (int64_t e = 0; e < sizes_.expansion; ++e) places_.push_back(vector + static_cast<int32_t>(e));
    if (state.keeps_vectors) {
      wave_.kept_vectors.insert(wave_.kept_vectors.end(), places_.begin(), places_.end());
      state.vectors.append(sizes_.expansion, wave_.slots);
    }
  }
  if (state.keeps_vectors) {
    places_.clear();
    for (int64_t e = 0; e < sizes_.expansion; ++e) places_.push_back(state.vectors.row(e));
  }
  int64_t row = begins ? wave_.rows.open(places_) + sizes_.leading - 1 : -1;
  auto want = [&](int64_t t) {  // the row added last predicts what follows token t
    if (t < reach.first_token) return;
    wave_.wanted.push_back(static_cast<int32_t>(row));
    wave_.targets.push_back(static_cast<int32_t>(reach.row + t - reach.first_token));
  };
  if (begins) want(first_slot - 1);
  // The last token of a block is no input of it.
  int64_t end = std::min(state.length(), first_slot + sizes_.length - 1);
  for (int64_t t = begins ? first_slot : reach.first_token; t < end; ++t) {
    row = wave_.rows.add(state.ids[static_cast<size_t>(t)], state.offset_of(t), places_);
    want(t);
  }
  int64_t count = wave_.rows.size() - first_row;
  pass_.add_rows(count, 0);
  pass_.write_causal(wave_.own, 0, state.own, count);
  if (!tokens_.attends_across()) return;
  wave_.across.add_run(first_row, first_row + count);
  add_paged_spans(wave_.across, 0, state.vectors, first_row, 0);
}

void BlockTransformer::run_wave(Tape& tape, const State& any, Var vectors, const Tensor& hidden) {
  const auto& state = static_cast<const BlockTransformerState&>(any);
  const PagePool &own = state.own.pool(), &kept = state.vectors.pool();
  // Rows of the pass's vectors, to where the sequences keep them.
  auto keep = [&](const Tensor& column, const Tensor& from) {
    Tensor rows = tape.arena().tensor(from.dtype, {static_cast<int64_t>(wave_.slots.size()), from.row_size()});
    kernels::gather_rows(tape.context(), rows, from, wave_.kept_vectors);
    kernels::scatter_rows(tape.context(), column, wave_.slots, rows);
  };
  memory_.clear();
  if (tokens_.attends_across()) {
    for (size_t i = 0; i < static_cast<size_t>(tokens_.layers()); ++i) {
      if (!wave_.slots.empty()) {
        keep(kept.column(2 * i), projected_[i].k.value());
        keep(kept.column(2 * i + 1), projected_[i].v.value());
      }
      memory_.push_back(layer_heads(tape, kept, i));
    }
  } else if (state.keeps_vectors) {
    if (!wave_.slots.empty()) keep(kept.column(0), vectors->value);
    vectors = tape.constant(kept.column(0).view({kept.column(0).rows(), sizes_.token_dim}));
  }
  Var x = tokens_.forward(tape, {.rows = wave_.rows,
                                 .own = wave_.own,
                                 .across = wave_.across,
                                 .vectors = vectors,
                                 .memory = memory_,
                                 .cache = [&](size_t i) { return pass_.layer(own, i); },
                                 .seen = [this](const std::string& name, Var v) { seen(name, v); }});
  Tensor rows = tape.arena().tensor(hidden.dtype, {static_cast<int64_t>(wave_.wanted.size()), hidden.row_size()});
  kernels::gather_rows(tape.context(), rows, x->value, wave_.wanted);
  kernels::scatter_rows(tape.context(), hidden, wave_.targets, rows);
}

void BlockTransformer::write_pieces(Tape& tape, std::span<const Piece> pieces, const Tensor& logits) {
  begin_writing(pieces);
  Var vectors = vectors_of(tape, pieces);
  if (vectors) tokens_.project(tape, vectors, projected_);
  Tensor hidden = tape.arena().tensor(tape.precision().activation, {logits.rows(), sizes_.token_dim});
  // One block of each piece at a time, since a sequence keeps the rows of one.
  while (true) {
    wave_.clear();
    pass_.clear();
    for (size_t i = 0; i < pieces.size(); ++i) {
      if (reaches_[i].next_block <= reaches_[i].last_block) add_to_wave(pieces[i], reaches_[i]);
    }
    if (wave_.rows.size() == 0) break;
    run_wave(tape, *pieces.front().state, vectors, hidden);
  }
  logits_of(tape, tape.constant(hidden), logits);
}

}  // namespace tandem
