#include "eval/likelihood.h"

#include <algorithm>
#include <memory>
#include <span>

#include "base/error.h"
#include "kernels/cross_entropy.h"

namespace tandem {
namespace {

// Tokens of one pass: enough for matrix products to run at their speed.
constexpr int64_t kTokensPerPass = 2048;
// Sequences that are alive at the same time.
constexpr size_t kMostSequences = 64;
constexpr int64_t kLogitElements = int64_t{8} << 20;  // of one pass

int64_t size_of(const Continuation& c) { return static_cast<int64_t>(c.context.size() + c.tokens.size()); }

// What one sequence can take in the caches: whole pages, and an encoder-decoder's BOS on top of the tokens.
int64_t room_for(const Continuation& c) { return size_of(c) + 2 * kPageTokens; }

// Continuations [begin, end) of a list that are computed together.
struct Wave {
  size_t begin = 0;
  size_t end = 0;
};

// The context is read already when the one before has the same.
bool shares_context(const std::vector<Continuation>& all, size_t i, const Wave& wave) {
  return i > wave.begin && all[i].context == all[i - 1].context;
}

std::vector<Wave> waves_of(const std::vector<Continuation>& all) {
  std::vector<Wave> waves;
  int64_t tokens = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    if (waves.empty() || waves.back().end - waves.back().begin == kMostSequences ||
        tokens + size_of(all[i]) > kTokensPerPass) {
      waves.push_back({i, i});
      tokens = 0;
    }
    tokens += shares_context(all, i, waves.back()) ? static_cast<int64_t>(all[i].tokens.size()) : size_of(all[i]);
    waves.back().end = i + 1;
  }
  return waves;
}

// Calls run(pieces) for groups of at most `most` tokens, in order. Longer pieces are cut, always at multiples of
// `most` from their own beginning: how a sequence is cut does not depend on the others.
template <class Run>
void in_passes(std::span<const Piece> pieces, int64_t most, const Run& run) {
  std::vector<Piece> pass;
  int64_t tokens = 0;
  auto flush = [&] {
    if (!pass.empty()) run(pass);
    pass.clear();
    tokens = 0;
  };
  for (const Piece& piece : pieces) {
    for (size_t at = 0; at < piece.ids.size(); at += static_cast<size_t>(most)) {
      auto count = std::min(piece.ids.size() - at, static_cast<size_t>(most));
      if (tokens + static_cast<int64_t>(count) > most) flush();
      pass.push_back({piece.state, piece.ids.subspan(at, count)});
      tokens += static_cast<int64_t>(count);
    }
  }
  flush();
}

class Scorer {
 public:
  Scorer(Model& model, Tape& tape, const std::vector<Continuation>& all, std::vector<ContinuationScore>& scores)
      : model_(model),
        tape_(tape),
        all_(all),
        scores_(scores),
        rows_(std::clamp<int64_t>(kLogitElements / model.config().vocab_size, 16, kTokensPerPass)) {
    waves_ = waves_of(all);
    int64_t most = 0, longest = 0;
    for (const Wave& wave : waves_) {
      int64_t room = 0, rows = 0;
      for (size_t i = wave.begin; i < wave.end; ++i) {
        room += room_for(all[i]);
        rows += static_cast<int64_t>(all[i].tokens.size());
      }
      most = std::max(most, room);
      longest = std::max(longest, rows);
    }
    caches_ = model.new_caches({.tokens = most});
    int64_t rows = std::min(rows_, longest);
    logits_ = Storage(DType::f32, {rows, model.config().vocab_size});
    losses_ = Storage(DType::f32, {rows});
    best_.resize(static_cast<size_t>(rows));
  }

  void run(const std::function<void(size_t)>& on_scored) {
    for (const Wave& wave : waves_) {
      read(wave);
      write(wave);
      states_.clear();
      if (on_scored) on_scored(wave.end);
    }
    tape_.reset();
  }

 private:
  void read(const Wave& wave) {
    std::vector<Piece> pieces;
    for (size_t i = wave.begin; i < wave.end; ++i) {
      states_.push_back(shares_context(all_, i, wave) ? nullptr : model_.new_state(*caches_));
      std::span<const int32_t> context = all_[i].context;
      if (states_.back()) pieces.push_back({states_.back().get(), context.first(context.size() - 1)});
    }
    int64_t most = model_.reads_in_pieces() ? kTokensPerPass : model_.config().max_seq_len;
    in_passes(pieces, most, [&](std::span<const Piece> pass) {
      tape_.reset();
      model_.read(tape_, pass);
    });
    for (size_t i = 1; i < states_.size(); ++i) {
      if (!states_[i]) states_[i] = states_[i - 1]->fork();
    }
  }

  // Each continuation is written behind what opens it, up to its last token, which nothing follows.
  void write(const Wave& wave) {
    std::vector<std::vector<int32_t>> written;
    std::vector<Piece> pieces;
    labels_.clear();
    for (size_t i = wave.begin; i < wave.end; ++i) {
      const Continuation& c = all_[i];
      std::vector<int32_t> ids{c.context.back()};
      ids.insert(ids.end(), c.tokens.begin(), c.tokens.end() - 1);
      written.push_back(std::move(ids));
      labels_.insert(labels_.end(), c.tokens.begin(), c.tokens.end());
    }
    for (size_t i = 0; i < written.size(); ++i) pieces.push_back({states_[i].get(), written[i]});
    token_scores_.clear();
    in_passes(pieces, rows_, [&](std::span<const Piece> pass) { write_pass(pass); });
    size_t at = 0;
    for (size_t i = wave.begin; i < wave.end; ++i) {
      for (size_t t = 0; t < all_[i].tokens.size(); ++t, ++at) {
        scores_[i].tokens.push_back(token_scores_[at]);
        scores_[i].log_probability += token_scores_[at].log_probability;
        scores_[i].greedy = scores_[i].greedy && token_scores_[at].largest;
      }
    }
  }

  void write_pass(std::span<const Piece> pass) {
    int64_t rows = 0;
    for (const Piece& piece : pass) rows += static_cast<int64_t>(piece.ids.size());
    Tensor logits = logits_.tensor().slice_rows(0, rows), losses = losses_.tensor().slice_rows(0, rows);
    tape_.reset();
    model_.write(tape_, pass, logits);
    auto count = static_cast<size_t>(rows);
    std::span<const int32_t> labels = std::span(labels_).subspan(token_scores_.size(), count);
    std::span<int32_t> best = std::span(best_).first(count);
    kernels::cross_entropy(tape_.context(), losses, {}, best, logits, labels, 1, 1);
    for (size_t t = 0; t < count; ++t) {
      token_scores_.push_back({-load_element(losses, static_cast<int64_t>(t), 0), best[t] == labels[t]});
    }
  }

  Model& model_;
  Tape& tape_;
  const std::vector<Continuation>& all_;
  std::vector<ContinuationScore>& scores_;
  int64_t rows_;  // of logits in one pass
  std::vector<Wave> waves_;
  std::unique_ptr<Caches> caches_;  // outlives the states
  Storage logits_, losses_;
  std::vector<int32_t> best_;
  // Of the wave in progress.
  std::vector<std::unique_ptr<State>> states_;
  std::vector<int32_t> labels_;
  std::vector<TokenScore> token_scores_;
};

}  // namespace

bool fits(const Model& model, const Continuation& c) { return size_of(c) <= model.config().max_seq_len; }

std::vector<ContinuationScore> score_continuations(Model& model, Tape& tape,
                                                   const std::vector<Continuation>& continuations,
                                                   const std::function<void(size_t done)>& on_scored) {
  if (tape.recording()) throw LogicError({.what = "score_continuations: the tape records"});
  for (const Continuation& c : continuations) {
    if (c.context.empty() || c.tokens.empty() || !fits(model, c)) {
      throw LogicError({.what = "score_continuations: empty or too long"});
    }
  }
  std::vector<ContinuationScore> scores(continuations.size());
  if (!continuations.empty()) Scorer(model, tape, continuations, scores).run(on_scored);
  return scores;
}

}  // namespace tandem
