#include "eval/golden_mu.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "eval/golden_draws.h"
#include "eval/golden_fields.h"
#include "formats/head_order.h"
#include "infer/sampler.h"

namespace tandem {
namespace {

// The authors' code has no longest sequence.
constexpr int64_t kLongest = 2048;

// Of `ntk.logits`: the notes say it, config.json does not.
constexpr double kNtkFactor = 2;
constexpr int64_t kNtkLength = 8;

HeadCounts head_counts(const ModelConfig& c) { return {c.n_heads, c.kv_heads(), c.head_size()}; }

// Order of query heads in the case's files.
HeadOrder head_order(const GoldenCase& c) {
  return json_bool(c.json, "is_interleaved", c.folder.string()) ? HeadOrder::grouped : HeadOrder::tiled;
}

// Rows of ids without the padding behind them.
std::vector<std::vector<int32_t>> unpadded_rows(const SafetensorsFile& file, const std::string& name, int32_t pad) {
  std::string where = file.path().string();
  std::vector<std::vector<int32_t>> rows = golden_rows(file, name, where);
  for (size_t r = 0; r < rows.size(); ++r) {
    std::vector<int32_t>& row = rows[r];
    while (!row.empty() && row.back() == pad) row.pop_back();
    if (!row.empty() && std::find(row.begin(), row.end(), pad) == row.end()) continue;
    throw InputError({.what = "golden row that is empty or has padding inside",
                      .where = fmt::format("'{}' of {}", name, where),
                      .got = fmt::format("row {}", r)});
  }
  return rows;
}

// What the case's rows hold beside padding, and where in its tensors each token stands.
struct Sides {
  Batch batch;
  std::vector<int64_t> read;     // of the reader's tokens: row of [rows * length]
  std::vector<int64_t> written;  // of the writer's
};

// `at_end`: rows stand at the last positions of the padded length instead of the first ones. Only differences of
// positions matter, but where bases follow the length of a sequence the authors' is the padded one.
Sides sides_of(const GoldenCase& c, const SafetensorsFile& io, bool at_end) {
  auto read = unpadded_rows(io, "encoder_input_ids", c.padding_id);
  auto written = unpadded_rows(io, "decoder_input_ids", c.padding_id);
  std::vector<int32_t> targets = golden_integers(io.tensor("targets"), "targets", io.path().string());
  int64_t reads = io.tensor("encoder_input_ids").row_size(), writes = io.tensor("decoder_input_ids").row_size();
  if (read.size() != written.size() || targets.size() != written.size() * static_cast<size_t>(writes)) {
    throw InputError({.what = "encoder and decoder inputs do not fit", .where = io.path().string()});
  }
  Sides out;
  Batch& batch = out.batch;
  batch.rows = static_cast<int64_t>(read.size());
  batch.length = writes;
  batch.two_sided = true;
  auto add = [&](const std::vector<int32_t>& ids, auto& side, std::vector<int64_t>& places, int64_t row,
                 int64_t length) {
    auto begin = static_cast<int64_t>(side.ids.size()), count = static_cast<int64_t>(ids.size());
    for (int64_t t = 0; t < count; ++t) {
      side.positions.push_back(static_cast<int32_t>(t + (at_end ? length - count : 0)));
      places.push_back(row * length + t);
    }
    side.ids.insert(side.ids.end(), ids.begin(), ids.end());
    return TokenRange{begin, begin + count};
  };
  for (int64_t row = 0; row < batch.rows; ++row) {
    TokenRange seen = add(read[static_cast<size_t>(row)], batch.reader, out.read, row, reads);
    batch.reader.sequences.push_back(seen);
    TokenRange block = add(written[static_cast<size_t>(row)], batch.writer, out.written, row, writes);
    batch.writer.blocks.push_back({block, seen});
  }
  for (int64_t place : out.written) {
    int32_t target = targets[static_cast<size_t>(place)];
    batch.writer.labels.push_back(target == c.padding_id ? kIgnoreLabel : target);
  }
  return out;
}

// Rows of ours beside the rows `places` of a tensor that is [.., columns of ours].
double worst_of_rows(const Tensor& ours, const Tensor& stored, std::span<const int64_t> places,
                     const std::string& name) {
  int64_t columns = ours.row_size(), last = *std::max_element(places.begin(), places.end());
  if (stored.elements() % columns != 0 || stored.elements() / columns <= last) {
    throw InputError({.what = "golden tensor of another size",
                      .where = name,
                      .got = stored.shape.text(),
                      .expected = fmt::format("more than {} rows of {}", last, columns)});
  }
  Tensor rows(stored.data, stored.dtype, {stored.elements() / columns, columns});
  double worst = 0;
  for (size_t t = 0; t < places.size(); ++t) {
    auto row = static_cast<int64_t>(t);
    worst = std::max(worst, worst_difference(ours.slice_rows(row, row + 1), rows.slice_rows(places[t], places[t] + 1)));
  }
  return worst;
}

double norm(const Tensor& t) {
  double sum = 0;
  for (int64_t r = 0; r < t.rows(); ++r) {
    for (int64_t i = 0; i < t.row_size(); ++i) sum += load_element(t, r, i) * load_element(t, r, i);
  }
  return std::sqrt(sum);
}

class MuCheck {
 public:
  MuCheck(Context& ctx, const GoldenCase& c, const Precision& precision, bool judge)
      : ctx_(ctx),
        case_(c),
        precision_(precision),
        judge_(judge),
        io_(SafetensorsFile::open(c.folder / "io.safetensors")) {}

  ParityReport run() {
    forward_and_gradients();
    variants();
    if (std::filesystem::exists(case_.folder / "gen.safetensors")) generation();
    return out_.report();
  }

 private:
  std::optional<double> judged(double tolerance) const { return judge_ ? std::optional(tolerance) : std::nullopt; }

  // With the query heads of the files in `order`.
  std::unique_ptr<Model> model(const ModelConfig& config, ParameterStore::Gradients gradients, HeadOrder order) const {
    std::unique_ptr<Model> model = make_model(config, precision_, gradients, case_.folder.string());
    load_golden_weights(case_.folder / "weights.safetensors", *model);  // which takes them for tiled
    if (order == HeadOrder::tiled) return model;
    for (Parameter& p : model->parameters().all()) {
      reorder_query_heads(p.name(), p.master(), head_counts(config), HeadOrder::grouped, HeadOrder::tiled);
    }
    model->parameters().refresh_compute();
    return model;
  }

  void logits(const std::string& name, Model& model, const Sides& sides) {
    Tape tape(ctx_, precision_, Tape::Mode::no_grad);
    Tensor ours = model.all_logits(tape, sides.batch);
    out_.add("logits", "absolute", name, worst_of_rows(ours, io_.tensor(name), sides.written, name),
             judged(case_.tolerance.logits_abs));
  }

  void forward_and_gradients() {
    auto m = model(case_.config, ParameterStore::Gradients::wanted, head_order(case_));
    Sides sides = sides_of(case_, io_, case_.config.rope_ntk_factor > 1);
    logits("logits", *m, sides);
    m->observe([&](const std::string& ours, const Tensor& value) {
      std::string name = golden_activation_name(ours, case_.config);
      if (!io_.contains(name)) return;
      const auto& places = name.starts_with("encoder.") ? sides.read : sides.written;
      out_.add("activation", "absolute", name, worst_of_rows(value, io_.tensor(name), places, name), std::nullopt);
    });
    Storage token_loss(precision_.residual, {static_cast<int64_t>(sides.written.size()), 1});
    Tape tape(ctx_, precision_, Tape::Mode::record);
    ops::LossSum loss = m->loss(tape, sides.batch, false, token_loss.tensor());
    tape.backward();
    double tokens = static_cast<double>(std::max<int64_t>(loss.tokens, 1));
    out_.add("loss", "absolute", "loss", std::abs(loss.sum / tokens - load_element(io_.tensor("loss"), 0, 0)),
             judged(case_.tolerance.loss_abs));
    out_.add("loss_per_token", "absolute", "loss_per_token",
             worst_of_rows(token_loss.tensor(), io_.tensor("loss_per_token"), sides.written, "loss_per_token"),
             std::nullopt);
    for (const Parameter& p : m->parameters().all()) compare_gradient(p, tokens);
  }

  void compare_gradient(const Parameter& p, double tokens) {
    // Ours in the order of theirs, since a gradient is judged tensor by tensor of theirs.
    Storage copy(DType::f32, p.shape());
    copy_convert(copy.tensor(), p.grad());
    reorder_query_heads(p.name(), copy.tensor(), head_counts(case_.config), HeadOrder::grouped, head_order(case_));
    int64_t row = 0;
    for (const std::string& authors : golden_parameter_names(p, case_.config)) {
      std::string name = "grad." + authors;
      Tensor theirs = io_.tensor(name);
      bool fits = theirs.shape.rank() == p.shape().rank() && row + theirs.rows() <= p.shape()[0] &&
                  theirs.row_size() == copy.tensor().row_size();
      if (!fits) {
        throw InputError({.what = "golden tensor of another size",
                          .where = name,
                          .got = theirs.shape.text(),
                          .expected = fmt::format("a part of {}", p.shape().text())});
      }
      Tensor ours = copy.tensor().slice_rows(row, row + theirs.rows());
      row += theirs.rows();
      if (authors.ends_with("cross_attn.k_linear.bias")) {
        compare_zero(name, ours, tokens);
      } else {
        out_.add("gradient", "relative", name,
                 relative_difference(ours, theirs, 1.0 / tokens, case_.tolerance.grad_floor),
                 judged(case_.tolerance.grad_rel));
      }
    }
  }

  // Without rotation a bias of the keys adds the same to all scores of a query: its gradient is 0, and what is stored
  // is rounding noise. Ours must be as small beside the gradient of the keys' weights as other errors are.
  void compare_zero(const std::string& name, const Tensor& ours, double tokens) {
    std::string weight = name.substr(0, name.size() - std::string_view("bias").size()) + "weight";
    double error = norm(ours) / tokens / std::max(norm(io_.tensor(weight)), case_.tolerance.grad_floor);
    out_.add("zero_gradient", "of the weights'", name, error, judged(case_.tolerance.grad_rel));
  }

  void variants() {
    if (io_.contains("interleaved.logits")) {
      auto m = model(case_.config, ParameterStore::Gradients::none, HeadOrder::grouped);
      logits("interleaved.logits", *m, sides_of(case_, io_, false));
    }
    if (!io_.contains("ntk.logits")) return;
    ModelConfig config = case_.config;
    config.rope_ntk_factor = kNtkFactor;
    config.rope_ntk_length = kNtkLength;
    auto m = model(config, ParameterStore::Gradients::none, head_order(case_));
    logits("ntk.logits", *m, sides_of(case_, io_, true));
  }

  void generation() {
    SafetensorsFile gen = SafetensorsFile::open(case_.folder / "gen.safetensors");
    auto m = model(case_.config, ParameterStore::Gradients::none, head_order(case_));
    generate(gen, *m, "", static_cast<int32_t>(case_.config.eos_id));
    if (!gen.contains("eos.output_ids")) return;
    generate(gen, *m, "eos.",
             golden_integers(gen.tensor("eos.eos_token_id"), "eos.eos_token_id", gen.path().string()).at(0));
  }

  // Greedy, from BOS on: all prompts are read in one pass and written side by side. Finished rows repeat EOS until all
  // are finished.
  void generate(const SafetensorsFile& gen, Model& m, const std::string& run, int32_t eos) {
    auto prompts = unpadded_rows(gen, "input_ids", case_.padding_id);
    auto outputs = unpadded_rows(gen, run + "output_ids", -1);
    auto rows = static_cast<int64_t>(prompts.size()), steps = static_cast<int64_t>(outputs.front().size()) - 1;
    int64_t vocabulary = case_.config.vocab_size;
    Tensor recorded = run.empty() ? gen.tensor("step_logits") : Tensor();
    if (outputs.size() != prompts.size() ||
        (recorded.defined() && (recorded.dtype != DType::f32 || recorded.shape != Shape{rows, steps, vocabulary}))) {
      throw InputError({.what = "prompts, outputs and logits do not fit",
                        .where = gen.path().string(),
                        .got = recorded.defined() ? recorded.shape.text() : fmt::format("{} rows", outputs.size()),
                        .expected = Shape{rows, steps, vocabulary}.text()});
    }
    // Room for each sequence, in pages, and no more: the reference goes over all of a pool.
    int64_t longest = gen.tensor("input_ids").row_size() + steps;
    auto caches = m.new_caches({.tokens = 2 * rows * (longest + kPageTokens)});
    std::vector<std::unique_ptr<State>> states;
    std::vector<Piece> pieces;
    for (const auto& prompt : prompts) {
      states.push_back(m.new_state(*caches));
      pieces.push_back({states.back().get(), prompt});
    }
    Tape tape(ctx_, precision_, Tape::Mode::no_grad);
    m.read(tape, pieces);
    Storage logits(DType::f32, {rows, vocabulary});
    std::vector<bool> ended(prompts.size(), false);
    double worst = 0, wrong = 0;
    for (int64_t s = 0; s < steps; ++s) {
      for (size_t r = 0; r < pieces.size(); ++r) pieces[r].ids = {&outputs[r][static_cast<size_t>(s)], 1};
      tape.reset();
      m.write(tape, pieces, logits.tensor());
      for (int64_t r = 0; r < rows; ++r) {
        std::span<const float> row(logits.tensor().row<float>(r), static_cast<size_t>(vocabulary));
        if (recorded.defined()) {
          Tensor theirs(recorded.as<float>() + (r * steps + s) * vocabulary, DType::f32, {1, vocabulary});
          worst = std::max(worst, worst_difference(logits.tensor().slice_rows(r, r + 1), theirs));
        }
        auto best = static_cast<int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
        auto index = static_cast<size_t>(r);
        ended[index] = ended[index] || best == eos;
        wrong += (ended[index] ? eos : best) != outputs[index][static_cast<size_t>(s) + 1];
        if (s == 0 && run.empty() && gen.contains("sample.probs_T0.9_k8")) sample(gen, r, row);
      }
    }
    if (recorded.defined()) {
      out_.add("step_logits", "absolute", "step_logits", worst, judged(case_.tolerance.logits_abs));
    }
    out_.add("generated_ids", "wrong ids", run + "output_ids", wrong, judged(0.0));
  }

  // The recorded distribution: what our sampler draws from these logits, and how often.
  void sample(const SafetensorsFile& gen, int64_t row, std::span<const float> logits) {
    constexpr double kTemperature = 0.9;
    constexpr int64_t kTopK = 8, kDraws = 20000;
    const std::string name = "sample.probs_T0.9_k8";
    Tensor stored = gen.tensor(name);
    if (stored.shape.rank() != 2 || row >= stored.rows() || stored.row_size() != static_cast<int64_t>(logits.size())) {
      throw InputError({.what = "golden tensor of another size", .where = name, .got = stored.shape.text()});
    }
    Sampler sampler({.temperature = kTemperature, .top_k = kTopK, .seed = static_cast<uint64_t>(row)});
    std::vector<double> counts(logits.size(), 0);
    for (int64_t i = 0; i < kDraws; ++i) ++counts[static_cast<size_t>(sampler.next(logits, {}))];
    double statistic = 0, possible = 0;
    for (size_t id = 0; id < logits.size(); ++id) {
      double expected = load_element(stored, row, static_cast<int64_t>(id)) * static_cast<double>(kDraws);
      if (expected == 0) {
        statistic += counts[id] > 0 ? std::numeric_limits<double>::infinity() : 0;
        continue;
      }
      possible += 1;
      statistic += (counts[id] - expected) * (counts[id] - expected) / expected;
    }
    out_.add("draws", "over the bound of chance", name, statistic / chi_square_bound(std::max(possible - 1, 1.0)),
             judged(1.0));
  }

  Context& ctx_;
  const GoldenCase& case_;
  Precision precision_;
  bool judge_;
  SafetensorsFile io_;
  ParityCollector out_;
};

}  // namespace

bool is_golden_mu_case(const Json& json) { return json.contains("architecture") && json["architecture"] == "mu"; }

ModelConfig golden_mu_config(const Json& json, const std::string& where) {
  ModelConfig c;
  c.arch = Arch::encoder_decoder;
  c.vocab_size = json_int(json, "vocab_size", where);
  c.dim = json_int(json, "hidden_size", where);
  c.mlp_dim = json_int(json, "intermediate_size", where);
  c.n_encoder_layers = json_int(json, "num_encoder_layers", where);
  c.n_decoder_layers = json_int(json, "num_decoder_layers", where);
  c.n_heads = json_int(json, "num_attention_heads", where);
  c.n_kv_heads = json_int(json, "num_key_value_heads", where);
  c.head_dim = json_int(json, "head_dim", where);
  c.max_seq_len = kLongest;
  c.rope_base = json_number(json, "rope_theta", where);
  c.rope_ntk_factor = json_number(json, "rope_factor", where);
  c.rope_ntk_length = json_int(json, "block_size", where);
  c.rope_pairs =
      choose<kernels::RopePairs>(json, "rope_style", where, {{"half-split", kernels::RopePairs::half_split}});
  c.cross_rope = false;
  c.norm_eps = c.output_norm_eps = json_number(json, "rms_norm_eps", where);
  c.output_norm = OutputNorm::rmsnorm;
  c.activation = choose<kernels::GeluKind>(json, "hidden_act", where, {{"gelu_tanh", kernels::GeluKind::tanh}});
  c.biases = true;
  c.bos_id = json_int(json, "bos_token_id", where);
  c.eos_id = json_int(json, "eos_token_id", where);
  for (const char* key : {"attention_bias", "mlp_bias", "tie_word_embeddings"}) require_flag(json, key, true, where);
  require_flag(json, "lm_head_bias", false, where);
  require_equal(json, "dropout", 0, where);
  c.validate(where);
  require_equal(json, "qkv_dim", static_cast<double>(c.n_heads * c.head_size()), where);
  return c;
}

void adopt_query_heads(const std::string& ours, const Tensor& t, const ModelConfig& config) {
  reorder_query_heads(ours, t, head_counts(config), HeadOrder::tiled, HeadOrder::grouped);
}

ParityReport check_mu(Context& ctx, const GoldenCase& c, const Precision& precision, bool judge) {
  return MuCheck(ctx, c, precision, judge).run();
}

}  // namespace tandem
