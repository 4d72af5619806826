// Generation for many requests at once: prompts are read in pieces between the steps of those that write.
#pragma once

#include <atomic>
#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "arch/model.h"
#include "base/clock.h"
#include "infer/beam_search.h"
#include "infer/generation.h"
#include "infer/prefix_store.h"
#include "infer/prefix_tree.h"

namespace tandem {

struct EngineOptions {
  CacheOptions cache;
  // Tokens of one step: every sequence that writes takes one, and prompts are read with what is left of them, at least
  // one tile's worth, so that a long prompt stalls nobody for longer than it takes to read so many. A prompt of no more
  // than this is read in one pass, behind sequences that write, where that saves room (State::read_at_once).
  int64_t step_tokens = 512;
  int64_t most_sequences = 64;  // that write at the same time
  bool reuse_prefixes = true;
  int64_t fold = kNeverFold;  // of requests that do not say it themselves
  // Where prefixes outlive the engine (infer/prefix_store.h), which looks for them there and saves them when it ends;
  // empty: nowhere. Files of together at most `prefix_bytes`.
  std::filesystem::path prefix_folder;
  int64_t prefix_bytes = int64_t{1} << 30;
};

struct GenerationRequest {
  Prompt prompt;
  GenerationOptions options;
  int64_t completions = 1;  // from the same prompt; the seed of the n-th is options.sampling.seed + n
  // Called for every new token. A beam search calls it at its end, for one text after the other.
  std::function<Next(int64_t completion, int32_t id)> on_token;
  // Looked at before each step and each pass; when set, the request ends as cancelled.
  std::shared_ptr<const std::atomic<bool>> cancelled;
};

struct GenerationResult {
  std::vector<Generation> completions;  // of a beam search: the best texts, the best first
  PromptLogProbabilities prompt;
  int64_t reused_tokens = 0;  // of the prompt, which earlier requests had read
  StateBytes cache;           // pages that the completion which ended last held then
  std::string error;          // one line; empty: none. Then completions hold what was written before it
};

struct EngineStatistics {
  int64_t steps = 0;
  int64_t read_tokens = 0;
  int64_t written_tokens = 0;
  int64_t reused_tokens = 0;
  int64_t prefix_hits = 0;  // prompts that had something in common with an earlier one
  int64_t evicted_prefixes = 0;
  int64_t loaded_prefixes = 0;  // from the folder
  int64_t most_sequences = 0;   // and beams that wrote in the same step
  double read_seconds = 0;      // of the steps, in passes that read prompts
  double write_seconds = 0;     // and in those that write, with the choice of tokens
  int64_t proposed_tokens = 0;  // by lookup
  int64_t accepted_tokens = 0;  // of these
};

class Engine {
 public:
  using Ticket = int64_t;

  // Both must outlive the engine; the model's weights are only read.
  // InputError and JobError where the options' folders are of no use.
  Engine(Context& ctx, Model& model, const EngineOptions& options);
  ~Engine();

  // Puts a request at the end of the queue. InputError for ids outside the vocabulary, a prompt that leaves no room
  // below max_seq_len and options out of range: then nothing was queued. Everything that goes wrong later (caches that
  // cannot hold the request even alone, weights that give no numbers) is the error of that request's result.
  Ticket submit(GenerationRequest request);
  // One token for every sequence that writes, and a piece of the prompts that wait. False when there is nothing to do.
  bool step();
  // The result of a request that has ended; once.
  std::optional<GenerationResult> take(Ticket ticket);
  // Steps until the request has ended.
  GenerationResult wait(Ticket ticket);

  const EngineStatistics& statistics() const { return statistics_; }
  const Caches& caches() const { return *caches_; }
  const PrefixTree& prefixes() const { return prefixes_; }
  void forget_prefixes() { prefixes_.clear(); }  // not those in the folder
  void save_prefixes();

 private:
  struct Request {
    Ticket ticket = 0;
    GenerationRequest asked;
    GenerationResult result;
    std::unique_ptr<State> prompt;  // on its way through the prompt, then what completions fork from
    bool at_once = false;           // the prompt is read in one pass
    int64_t read = 0;               // tokens of asked.prompt.read
    int64_t started = 0;            // completions
    int64_t running = 0;
    int64_t fold = kNeverFold;  // the length of its blocks
    // Writes the prompt, for its log-probabilities; null: they are there or not asked for.
    std::unique_ptr<State> measuring;
    int64_t measured = 0;  // tokens of asked.prompt.read
    Stopwatch clock;
  };
  // One completion that writes.
  struct Sequence {
    Request* request;
    int64_t completion;
    std::unique_ptr<State> state;
    Sampler sampler;
    std::vector<int32_t> history;  // ids of the sequence; all but the last are in the state
    std::vector<int32_t> draft;    // what is proposed to follow it, in the pass at hand
    Stopwatch clock;
  };

  // A beam search. Of its `width` states those of live beams write; the others keep the room that is theirs.
  struct Search {
    struct Beam {
      std::unique_ptr<State> state;
      ConstraintState constraint;
      std::vector<int32_t> history;  // all but the last are in the state
    };
    Request* request;
    BeamSearch search;
    Sampler sampler;  // the chain
    std::vector<Beam> beams;
    Stopwatch clock;
  };

  void check(const GenerationRequest& asked) const;
  int64_t writers() const;                            // sequences and beams
  int64_t most_tokens(const Request& request) const;  // that one completion may write
  bool cancelled(const Request& request) const;
  void drop_cancelled();
  PrefixTree::Match find_prefix(std::span<const int32_t> ids);
  bool admit(Request& request);
  bool reserve(const Request& request, State& state, int64_t read, int64_t write);
  bool reserve_rest(const Request& request, State& state, int64_t written);
  int64_t measure_prompts(int64_t budget);
  void take_measures(Request& request, const Tensor& logits, int64_t row, int64_t count);
  int64_t read_prompts(int64_t budget);
  void start_completions();
  bool start_completion(Request& request);
  void make_room(Sequence& sequence, Generation& generation) const;
  // infer/engine_writing.cpp
  int64_t write_sequences();  // tokens of the pass
  void fold_block(const Request& request, State& state, int64_t written);
  void fold_blocks();
  void propose(Sequence& sequence, int64_t most);
  void accept(Sequence& sequence, const Tensor& logits, int64_t row);
  std::optional<FinishReason> choose(Sequence& sequence, std::span<const float> logits);
  Tensor logits_of(int64_t rows);  // to be filled by a pass
  std::span<const float> row_of(const Tensor& logits, int64_t row) const;

  // infer/engine_beams.cpp
  bool start_search(Request& request);
  void follow(Search& search, const Tensor& logits, int64_t row);
  void regroup(Search& search, std::span<const BeamSearch::Origin> origins);
  void end(Search& search);
  void leave(Search& search);
  void fail(Search& search, const std::string& error);

  void end(Sequence& sequence, FinishReason reason);
  void fail(Sequence& sequence, const std::string& error);
  void drop_ended();
  void fail(Request& request, const std::string& error);
  void finish_requests();

  Model& model_;
  EngineOptions options_;
  Tape tape_;
  std::unique_ptr<Caches> caches_;  // outlives all states below
  PrefixTree prefixes_;
  std::unique_ptr<PrefixStore> store_;            // null: prefixes end with the engine
  std::deque<std::unique_ptr<Request>> queue_;    // not admitted yet
  std::deque<std::unique_ptr<Request>> reading_;  // in the order of admission
  std::deque<std::unique_ptr<Request>> writing_;  // prompt read, completions started or to be started
  std::deque<std::pair<Ticket, GenerationResult>> ended_;
  std::vector<Sequence> sequences_;
  std::vector<Search> searches_;
  std::vector<Piece> pieces_;
  Storage logits_;  // [as many rows as the largest pass had, V]
  Ticket next_ticket_ = 1;
  EngineStatistics statistics_;
};

}  // namespace tandem
