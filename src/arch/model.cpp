#include "arch/model.h"

#include <algorithm>

#include "arch/shared.h"
#include "base/error.h"
#include "ops/select_rows.h"

namespace tandem {

int64_t Model::non_embedding_parameters() const {
  int64_t n = 0;
  for (const Parameter& p : parameters_.all()) {
    if (p.group() != MupGroup::embedding) n += p.shape().elements();
  }
  return n;
}

namespace {

// Rows that carry no label need no logits. Packed text has too few of them for the copy to pay.
constexpr double kSparse = 0.9;

bool sparse(std::span<const int32_t> labels) {
  auto labelled = std::count_if(labels.begin(), labels.end(), [](int32_t label) { return label != kIgnoreLabel; });
  return static_cast<double>(labelled) < kSparse * static_cast<double>(labels.size());
}

// Adds tokens that nobody sees and that predict nothing.
void add_filler(Batch& batch) {
  auto fill = [](std::vector<int32_t>& list, TokenRange range, int32_t value) {
    list.resize(static_cast<size_t>(range.end), value);
  };
  auto range_of = [](const std::vector<int32_t>& ids) {
    auto count = static_cast<int64_t>(ids.size());
    return TokenRange{count, rounded_up(count)};
  };
  TokenRange read = range_of(batch.reader.ids), written = range_of(batch.writer.ids);
  for (auto* list : {&batch.reader.ids, &batch.reader.positions}) fill(*list, read, 0);
  for (auto* list : {&batch.writer.ids, &batch.writer.positions}) fill(*list, written, 0);
  fill(batch.writer.labels, written, kIgnoreLabel);
  if (read.size() > 0) batch.reader.sequences.push_back(read);
  if (written.size() > 0) batch.writer.blocks.push_back({written, {}});
}

struct LabelledRows {
  std::span<int32_t> rows;
  std::span<int32_t> labels;
};

// The rows with a label, and as many others as make a round number; in the tape's memory.
LabelledRows labelled_rows(Tape& tape, std::span<const int32_t> labels) {
  auto labelled = std::count_if(labels.begin(), labels.end(), [](int32_t label) { return label != kIgnoreLabel; });
  if (labelled == 0) return {};
  auto wanted = std::min(static_cast<size_t>(rounded_up(labelled)), labels.size());
  size_t others = wanted - static_cast<size_t>(labelled), count = 0;
  auto take = [&] { return tape.arena().tensor(DType::i32, {static_cast<int64_t>(wanted)}).as<int32_t>(); };
  int32_t *rows = take(), *kept = take();
  for (size_t t = 0; t < labels.size() && count < wanted; ++t) {
    bool filler = labels[t] == kIgnoreLabel;
    if (filler && others == 0) continue;
    others -= filler ? 1 : 0;
    rows[count] = static_cast<int32_t>(t);
    kept[count++] = labels[t];
  }
  return {{rows, count}, {kept, count}};
}

}  // namespace

ops::LossSum Model::loss(Tape& tape, const Batch& batch, bool count_correct, const Tensor& token_loss,
                         std::span<uint8_t> token_correct) {
  ops::HeadOptions options;
  options.multiplier = config_.logit_multiplier();
  options.count_correct = count_correct;
  options.token_loss = token_loss;
  options.token_correct = token_correct;
  std::span<const int32_t> labels = batch.loss_labels();
  if (labels.empty()) return {};
  if (token_loss.defined() || (!batch.two_sided && !sparse(labels))) {
    return ops::head_loss(tape, hidden(tape, batch), output_table().weight(), labels, options);
  }
  LabelledRows labelled = labelled_rows(tape, labels);
  if (labelled.rows.empty()) return {};
  const Batch* pass = &batch;
  if (batch.two_sided) {
    filled_.two_sided = true;
    filled_.rows = batch.rows;
    filled_.length = batch.length;
    filled_.reader = batch.reader;
    filled_.writer = batch.writer;
    add_filler(filled_);
    pass = &filled_;
  }
  Var x = ops::select_rows(tape, hidden(tape, *pass), labelled.rows);
  return ops::head_loss(tape, x, output_table().weight(), labelled.labels, options);
}

Tensor Model::all_logits(Tape& tape, const Batch& batch) {
  Var x = hidden(tape, batch);
  Tensor logits = tape.arena().tensor(tape.precision().residual, {x->value.rows(), config_.vocab_size});
  ops::head_logits(tape, logits, x, output_table().weight(), config_.logit_multiplier());
  return logits;
}

void Model::logits_of(Tape& tape, Var x, const Tensor& logits) const {
  check_shape("logits", "logits", logits, {x->value.rows(), config_.vocab_size});
  if (tape.precision().residual == DType::f32) {
    return ops::head_logits(tape, logits, x, output_table().weight(), config_.logit_multiplier());
  }
  Tensor wide = tape.arena().tensor(tape.precision().residual, logits.shape);
  ops::head_logits(tape, wide, x, output_table().weight(), config_.logit_multiplier());
  copy_convert(logits, wide);
}

namespace {

[[noreturn]] void no_room(int64_t tokens, int64_t room, const char* hint) {
  throw InputError({.what = "sequence longer than its cache",
                    .got = fmt::format("{} tokens", tokens),
                    .expected = fmt::format("at most {}", room),
                    .hint = hint});
}

}  // namespace

void Model::check_piece(const Piece& piece, int64_t end) const {
  for (int32_t id : piece.ids) {
    if (id >= 0 && id < config_.vocab_size) continue;
    throw InputError({.what = "token outside the model's vocabulary",
                      .got = fmt::format("{}", id),
                      .expected = fmt::format("0..{}", config_.vocab_size - 1)});
  }
  if (end > config_.max_seq_len) {
    throw InputError({.what = "sequence longer than the model's rows",
                      .got = fmt::format("{} tokens", end),
                      .expected = fmt::format("at most {} (max_seq_len)", config_.max_seq_len)});
  }
  int64_t tokens = piece.state->length() + static_cast<int64_t>(piece.ids.size());
  if (tokens > piece.state->capacity()) no_room(tokens, piece.state->capacity(), "");
}

void Model::read(Tape& tape, std::span<const Piece> pieces) {
  for (const Piece& piece : pieces) {
    auto count = static_cast<int64_t>(piece.ids.size());
    check_piece(piece, piece.state->end_of_read(count));
    if (piece.state->written() > 0) throw LogicError({.what = "read: the block that was written is still open"});
    if (!piece.state->reserve_read(count))
      no_room(piece.state->length() + count, piece.state->length(), "no free pages");
  }
  if (!pieces.empty()) read_pieces(tape, pieces);
}

void Model::write(Tape& tape, std::span<const Piece> pieces, const Tensor& logits) {
  for (const Piece& piece : pieces) {
    auto count = static_cast<int64_t>(piece.ids.size());
    check_piece(piece, piece.state->end_of_write(count));
    if (count == 0) throw LogicError({.what = "write: a piece without tokens"});
    if (!piece.state->reserve_write(count))
      no_room(piece.state->length() + count, piece.state->length(), "no free pages");
  }
  wake_pieces(tape, pieces);
  if (!pieces.empty()) write_pieces(tape, pieces, logits);
}

void Model::wake_pieces(Tape& tape, std::span<const Piece> pieces) {
  std::vector<State*> resting;
  for (const Piece& piece : pieces) {
    if (!piece.ids.empty() && piece.state->resting()) resting.push_back(piece.state);
  }
  if (!resting.empty()) wake_states(tape, resting);
}

void Model::wake(Tape& tape, State& state) {
  if (!state.resting()) return;
  if (!state.reserve_write(0)) no_room(state.length(), 0, "no free pages");
  State* resting = &state;
  wake_states(tape, {&resting, 1});
}

void Model::fold(Tape& tape, State& state) {
  std::vector<int32_t> ids = state.unread_block();
  auto count = static_cast<int64_t>(ids.size());
  if (!state.reserve_read(count)) no_room(state.length() + count, state.length(), "no free pages");
  state.close_block();
  Piece piece{&state, ids};
  if (count > 0) read(tape, {&piece, 1});
}

std::unique_ptr<State> Model::new_state(int64_t capacity) const {
  CacheOptions options;
  // What one sequence can need: an encoder-decoder's BOS comes on top of the tokens.
  options.tokens = capacity + kPageTokens;
  std::shared_ptr<Caches> caches = new_caches(options);
  std::unique_ptr<State> state = new_state(*caches);
  state->own(std::move(caches), capacity);
  return state;
}

void Model::decode(Tape& tape, State& state, int32_t id, std::span<float> logits) {
  Piece piece{&state, {&id, 1}};
  write(tape, {&piece, 1}, Tensor(logits.data(), DType::f32, {1, config_.vocab_size}));
}

}  // namespace tandem
