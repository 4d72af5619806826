#include "eval/golden_steps.h"

#include <algorithm>
#include <limits>

#include "base/error.h"

namespace tandem {
namespace {

// The pieces in which the cases' authors read prompts.
constexpr int64_t kPiece = 10;

// Rows of a run: prompts, and behind each what was written.
struct Run {
  std::string name;
  std::vector<std::vector<int32_t>> prompts;  // of different lengths
  std::vector<std::vector<int32_t>> outputs;  // prompts included; of one length
  int32_t eos = -1;
  Tensor logits;  // [rows, steps, V] of the steps behind the shortest prompt's; undefined: not recorded
};

Run read_run(const SafetensorsFile& file, const GoldenCase& c, const std::string& name, const std::string& prompts) {
  std::string where = (c.folder / "gen.safetensors").string();
  Run run{.name = name, .eos = static_cast<int32_t>(c.config.eos_id)};
  run.prompts = golden_rows(file, prompts + ".input_ids", where);
  run.outputs = golden_rows(file, name + ".output_ids", where);
  for (std::vector<int32_t>& prompt : run.prompts) {
    while (prompt.size() > 1 && prompt.back() == c.padding_id) prompt.pop_back();
  }
  if (file.contains(name + ".eos_token_id")) {
    run.eos = golden_integers(file.tensor(name + ".eos_token_id"), name + ".eos_token_id", where).at(0);
  }
  if (file.contains(name + ".step_logits")) run.logits = file.tensor(name + ".step_logits");
  auto longest = std::ranges::max_element(run.prompts, {}, &std::vector<int32_t>::size);
  auto shortest = std::ranges::min_element(run.prompts, {}, &std::vector<int32_t>::size);
  size_t length = run.outputs.front().size();
  Shape expected{static_cast<int64_t>(run.prompts.size()), static_cast<int64_t>(length - shortest->size()),
                 c.config.vocab_size};
  if (run.outputs.size() == run.prompts.size() && longest->size() < length &&
      (!run.logits.defined() || run.logits.shape == expected)) {
    return run;
  }
  throw InputError({.what = "prompts, outputs and logits do not fit",
                    .where = fmt::format("'{}' of {}", name, where),
                    .got = run.logits.defined() ? run.logits.shape.text() : fmt::format("{} rows", run.outputs.size()),
                    .expected = expected.text()});
}

// The largest logit of all tokens but BOS and padding, which the authors forbid.
int32_t best(std::span<const float> logits, const GoldenCase& c) {
  int32_t best = -1;
  for (int32_t id = 0; id < c.config.vocab_size; ++id) {
    if (id == c.config.bos_id || id == c.padding_id) continue;
    if (best < 0 || logits[static_cast<size_t>(id)] > logits[static_cast<size_t>(best)]) best = id;
  }
  return best;
}

class Replay {
 public:
  Replay(Tape& tape, Model& model, const GoldenCase& c, const Run& run)
      : tape_(tape), model_(model), case_(c), run_(run), ended_(run.prompts.size()) {
    // Sequences of one pass share their pools. Room for each, in pages, and as much again for what is given back late.
    auto length = static_cast<int64_t>(run.outputs[0].size()), rows = static_cast<int64_t>(run.prompts.size());
    caches_ = model.new_caches({.tokens = 2 * rows * (length + kPageTokens)});
    for (size_t row = 0; row < run.prompts.size(); ++row) {
      states_.push_back(model.new_state(*caches_));
      first_ = std::min(first_, run.prompts[row].size() - 1);
    }
  }

  void read() {
    for (size_t begin = 0; begin < first_; begin += kPiece) {
      pass(begin, std::min(first_, begin + kPiece), [&](std::span<const Piece> pieces) { model_.read(tape_, pieces); });
    }
  }

  void write(ParityCollector& out, std::optional<double> logits_tolerance, std::optional<double> ids_tolerance) {
    auto rows = static_cast<int64_t>(states_.size());
    Storage logits(DType::f32, {rows, case_.config.vocab_size});
    double worst = 0;
    int64_t wrong = 0;
    for (size_t t = first_; t + 1 < run_.outputs[0].size(); ++t) {
      pass(t, t + 1, [&](std::span<const Piece> pieces) { model_.write(tape_, pieces, logits.tensor()); });
      for (int64_t row = 0; row < rows; ++row) {
        Tensor ours = logits.tensor().slice_rows(row, row + 1);
        if (run_.logits.defined()) worst = std::max(worst, worst_difference(ours, recorded(row, t)));
        std::span<const float> values(ours.as<float>(), static_cast<size_t>(case_.config.vocab_size));
        wrong += next(static_cast<size_t>(row), t, values) != run_.outputs[static_cast<size_t>(row)][t + 1];
      }
      if (std::all_of(ended_.begin(), ended_.end(), [](bool ended) { return ended; })) break;
    }
    if (run_.logits.defined()) {
      out.add("step_logits", "absolute", run_.name + ".step_logits", worst, logits_tolerance);
    }
    out.add("generated_ids", "wrong ids", run_.name + ".output_ids", static_cast<double>(wrong), ids_tolerance);
  }

 private:
  // Tokens [begin, end) of every row in one pass.
  template <class Go>
  void pass(size_t begin, size_t end, const Go& go) {
    std::vector<Piece> pieces;
    for (size_t row = 0; row < states_.size(); ++row) {
      pieces.push_back({states_[row].get(), std::span(run_.outputs[row]).subspan(begin, end - begin)});
    }
    tape_.reset();
    go(pieces);
  }

  Tensor recorded(int64_t row, size_t t) const {
    int64_t at = row * run_.logits.shape[1] + static_cast<int64_t>(t - first_);
    return run_.logits.view({run_.logits.shape[0] * run_.logits.shape[1], run_.logits.shape[2]}).slice_rows(at, at + 1);
  }

  // The token behind t: the prompt's, then the most probable one; padding behind EOS.
  int32_t next(size_t row, size_t t, std::span<const float> logits) {
    if (ended_[row]) return case_.padding_id;
    const std::vector<int32_t>& prompt = run_.prompts[row];
    int32_t id = t + 1 < prompt.size() ? prompt[t + 1] : best(logits, case_);
    ended_[row] = id == run_.eos;
    return id;
  }

  Tape& tape_;
  Model& model_;
  const GoldenCase& case_;
  const Run& run_;
  std::unique_ptr<Caches> caches_;
  std::vector<std::unique_ptr<State>> states_;
  std::vector<bool> ended_;
  size_t first_ = std::numeric_limits<size_t>::max();  // token of the first step
};

}  // namespace

void check_steps(Context& ctx, ParityCollector& out, const GoldenCase& c, const Precision& precision, bool judge) {
  SafetensorsFile file = SafetensorsFile::open(c.folder / "gen.safetensors");
  std::unique_ptr<Model> model = make_model(c.config, precision, ParameterStore::Gradients::none, c.folder.string());
  load_golden_weights(c.folder / "weights.safetensors", *model);
  std::vector<Run> runs;
  for (int k = 0; file.contains(fmt::format("prompt{}.input_ids", k)); ++k) {
    std::string name = fmt::format("prompt{}", k);
    runs.push_back(read_run(file, c, name, name));
  }
  runs.push_back(read_run(file, c, "batch", "batch"));
  runs.push_back(read_run(file, c, "eos", "batch"));
  Tape tape(ctx, precision, Tape::Mode::no_grad);
  for (const Run& run : runs) {
    Replay replay(tape, *model, c, run);
    replay.read();
    replay.write(out, judge ? std::optional(c.tolerance.logits_abs) : std::nullopt,
                 judge ? std::optional(0.0) : std::nullopt);
  }
}

}  // namespace tandem
