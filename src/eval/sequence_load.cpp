#include "eval/sequence_load.h"

#include <algorithm>

#include "arch/write_cycle.h"
#include "base/clock.h"
#include "base/rng.h"

namespace tandem {
namespace {

// Address space for `sequences`, each in whole pages.
int64_t tokens_of(const Model& model, int64_t context, int64_t sequences) {
  int64_t pages = (context + positions_behind_context(model.config())) / kPageTokens + 1;
  return (sequences * pages + 1) * kPageTokens;
}

std::vector<int32_t> random_ids(const Model& model, int64_t count) {
  Rng rng(1, 0);
  std::vector<int32_t> ids;
  auto vocabulary = static_cast<uint32_t>(model.config().vocab_size);
  for (int64_t i = 0; i < count; ++i) ids.push_back(static_cast<int32_t>(rng.below(vocabulary)));
  return ids;
}

// False: stopped.
bool read_into(Tape& tape, Model& model, State& state, std::span<const int32_t> ids, int64_t chunk, const Stop& stop) {
  if (!model.reads_in_pieces()) chunk = static_cast<int64_t>(ids.size());
  while (!ids.empty()) {
    if (stop && stop()) return false;
    Piece piece{&state, ids.first(std::min(ids.size(), static_cast<size_t>(chunk)))};
    tape.reset();
    model.read(tape, {&piece, 1});
    ids = ids.subspan(piece.ids.size());
  }
  return true;
}

}  // namespace

std::optional<StateBytes> measure_cache(Tape& tape, Model& model, int64_t context, int64_t chunk, const Stop& stop) {
  std::unique_ptr<Caches> caches = model.new_caches(
      {.tokens = tokens_of(model, context, 1), .encoder = EncoderState::recompute, .keep_outputs = true});
  std::unique_ptr<State> state = model.new_state(*caches);
  std::vector<int32_t> ids = random_ids(model, context);
  if (!read_into(tape, model, *state, ids, chunk, stop)) return std::nullopt;
  StateBytes figures;
  figures.with_encoder = state->page_bytes().with_encoder;
  state->settle();
  figures.live = state->page_bytes().live;
  state->rest();
  figures.at_rest = state->page_bytes().at_rest;
  return figures;
}

SequenceLoad::SequenceLoad(Tape& tape, Model& model, int64_t context, int64_t most_sequences)
    : tape_(&tape),
      model_(model),
      caches_(
          model.new_caches({.tokens = tokens_of(model, context, most_sequences), .encoder = EncoderState::recompute})),
      ids_(random_ids(model, context)),
      logits_(DType::f32, {most_sequences, model.config().vocab_size}) {}

std::unique_ptr<State> SequenceLoad::read_one(int64_t chunk, const Stop& stop) {
  std::unique_ptr<State> state = model_.new_state(*caches_);
  pass_bytes_per_token_ = 0;
  if (!read_into(*tape_, model_, *state, ids_, chunk, stop)) return nullptr;
  int64_t piece = model_.reads_in_pieces() ? std::min(chunk, state->length()) : state->length();
  pass_bytes_per_token_ = static_cast<double>(tape_->arena().used_bytes()) / static_cast<double>(piece);
  return state;
}

std::optional<double> SequenceLoad::read(int64_t count, int64_t chunk, const Stop& stop) {
  states_.clear();
  Stopwatch watch;
  while (sequences() < count) {
    std::unique_ptr<State> state = read_one(chunk, stop);
    if (!state) {
      states_.clear();
      return std::nullopt;
    }
    state->settle();
    states_.push_back(std::move(state));
  }
  return watch.seconds();
}

bool SequenceLoad::resize(int64_t count, int64_t chunk, const Stop& stop) {
  if (sequences() > count) states_.resize(static_cast<size_t>(count));
  // The first token of a block may cost more than those behind it.
  auto open = [&] {
    const State& state = *states_.back();
    if (state.written() > 0) return;
    do write_to(std::span(states_).last(1));
    while (write_cycle(model_.config(), state.length()).until > 0);
  };
  if (!states_.empty()) open();
  while (sequences() < count) {
    if (stop && stop()) return false;
    std::unique_ptr<State> state = states_.empty() ? nullptr : states_.front()->fork();
    if (!state || !state->unshare()) {
      state = read_one(chunk, stop);
      if (!state) return false;
      state->settle();
    }
    states_.push_back(std::move(state));
    open();
  }
  return true;
}

void SequenceLoad::write_to(std::span<const std::unique_ptr<State>> states) {
  pieces_.clear();
  for (const auto& state : states) pieces_.push_back({state.get(), std::span(ids_).first(1)});
  tape_->reset();
  model_.write(*tape_, pieces_, logits_.tensor().slice_rows(0, static_cast<int64_t>(states.size())));
}

double SequenceLoad::write_and_take_back(int64_t tokens) {
  double seconds = 0, bytes = 0;
  for (int64_t i = 0; i < tokens; ++i) {
    Stopwatch watch;
    write_to(states_);
    seconds += watch.seconds();
    bytes += cache_bytes_read(model_, *states_.front());
  }
  for (auto& state : states_) state->unwrite(tokens);
  read_bytes_ = bytes / static_cast<double>(tokens);
  return seconds / static_cast<double>(tokens);
}

double SequenceLoad::write() {
  return write_and_take_back(write_cycle(model_.config(), states_.front()->length()).length);
}

double SequenceLoad::write_first() { return write_and_take_back(1); }

int64_t positions_behind_context(const ModelConfig& config) {
  constexpr int64_t kSpare = 2;
  return kSpare + 2 * write_cycle(config, 0).length;  // up to where a cycle begins, and the cycle
}

double SequenceLoad::bytes_read_per_step() const {
  return weight_bytes_per_pass(model_, PassKind::write, sequences()) + static_cast<double>(sequences()) * read_bytes_;
}

double weight_bytes_per_pass(const Model& model, PassKind kind, int64_t tokens) {
  double bytes = 0;
  for (const Parameter& parameter : model.parameters().all()) {
    int64_t own = parameter.packed().defined() ? parameter.packed().bytes() : parameter.compute().bytes();
    bytes += model.pass_share(kind, parameter) * static_cast<double>(own);
  }
  // Tokens are looked up in the float32 table.
  return bytes + static_cast<double>(tokens * model.config().dim) * sizeof(float);
}

}  // namespace tandem
