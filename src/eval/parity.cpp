#include "eval/parity.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "eval/golden_blocks.h"
#include "eval/golden_mu.h"
#include "eval/golden_steps.h"

namespace tandem {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// A tensor of the file seen with the shape of ours, so that [B, L, d] and [B * L, d] compare.
Tensor reshaped(const Tensor& stored, const Tensor& ours, const std::string& name) {
  if (stored.elements() != ours.elements()) {
    throw InputError({.what = "golden tensor of another size",
                      .where = name,
                      .got = stored.shape.text(),
                      .expected = ours.shape.text()});
  }
  return stored.view(ours.shape);
}

// The log-sum-exps are [rows, heads, length] in the files and [1, heads, rows * length] here.
double worst_lse_difference(const Tensor& ours, const Tensor& stored) {
  int64_t rows = stored.shape[0], heads = stored.shape[1], length = stored.shape[2];
  double worst = 0;
  for (int64_t b = 0; b < rows; ++b) {
    for (int64_t h = 0; h < heads; ++h) {
      for (int64_t t = 0; t < length; ++t) {
        double mine = load_element(ours, 0, (h * rows + b) * length + t);
        worst = std::max(worst, std::abs(mine - load_element(stored, b, h * length + t)));
      }
    }
  }
  return worst;
}

std::unique_ptr<Model> golden_model(const GoldenCase& c, const Precision& precision,
                                    ParameterStore::Gradients gradients) {
  std::unique_ptr<Model> model = make_model(c.config, precision, gradients, c.folder.string());
  load_golden_weights(c.folder / "weights.safetensors", *model);
  return model;
}

void require_rows(const Tensor& stored, const Tensor& ours, int64_t row, const std::string& name) {
  if (row + stored.rows() <= ours.rows()) return;
  throw InputError({.what = "golden tensor of another size",
                    .where = name,
                    .got = stored.shape.text(),
                    .expected = fmt::format("at most {} rows", ours.rows() - row)});
}

void compare_gradients(ParityCollector& out, const Model& model, const SafetensorsFile& io, double factor,
                       const GoldenTolerance& tolerance, bool judge) {
  for (const Parameter& p : model.parameters().all()) {
    int64_t row = 0;
    for (const std::string& authors : golden_parameter_names(p, model.config())) {
      std::string name = "grad." + authors;
      Tensor stored = io.tensor(name);
      require_rows(stored, p.grad(), row, name);
      Tensor ours = p.grad().slice_rows(row, row + stored.rows());
      double error = relative_difference(ours, reshaped(stored, ours, name), factor, tolerance.grad_floor);
      out.add("gradient", "relative", name, error, judge ? std::optional(tolerance.grad_rel) : std::nullopt);
      row += stored.rows();
    }
  }
}

void require_shape(const Tensor& t, const Shape& expected, const std::string& name) {
  if (t.shape == expected) return;
  throw InputError(
      {.what = "golden tensor of another size", .where = name, .got = t.shape.text(), .expected = expected.text()});
}

// Number of ids that differ from the recorded ones when each step's best id is taken.
struct GenerationErrors {
  double logits = 0;
  int64_t wrong_ids = 0;
};

GenerationErrors run_generation(Tape& tape, Model& model, std::span<const int32_t> prompt,
                                std::span<const int32_t> output, const Tensor& logits) {
  GenerationErrors errors;
  auto state = model.new_state(static_cast<int64_t>(prompt.size() + output.size()));
  tape.reset();
  model.prefill(tape, *state, prompt);
  Storage ours(DType::f32, {1, model.config().vocab_size});
  std::span<float> row(ours.tensor().as<float>(), static_cast<size_t>(model.config().vocab_size));
  for (size_t i = 0; i + 1 < output.size(); ++i) {
    tape.reset();
    model.decode(tape, *state, output[i], row);
    auto at = static_cast<int64_t>(i);
    errors.logits = std::max(errors.logits, worst_difference(ours.tensor(), logits.slice_rows(at, at + 1)));
    auto best = static_cast<int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
    errors.wrong_ids += best != output[i + 1];
  }
  return errors;
}

}  // namespace

bool ParityReport::ok() const {
  return std::all_of(checks.begin(), checks.end(), [](const ParityCheck& check) { return check.ok; });
}

void ParityCollector::add(const std::string& tensor_class, const std::string& measure, const std::string& tensor,
                          double error, std::optional<double> tolerance) {
  if (std::isnan(error)) error = kInfinity;
  auto& checks = report_.checks;
  auto found = std::find_if(checks.begin(), checks.end(),
                            [&](const ParityCheck& check) { return check.tensor_class == tensor_class; });
  if (found == checks.end()) {
    checks.push_back({tensor_class, measure, -1, "", tolerance, true, 0});
    found = checks.end() - 1;
  }
  ++found->compared;
  if (error > found->worst) {
    found->worst = error;
    found->tensor = tensor;
  }
  if (tolerance && error > *tolerance) found->ok = false;
}

double worst_difference(const Tensor& ours, const Tensor& theirs) {
  double worst = 0;
  for (int64_t r = 0; r < ours.rows(); ++r) {
    for (int64_t i = 0; i < ours.row_size(); ++i) {
      double a = load_element(ours, r, i), b = load_element(theirs, r, i);
      if (a == b) continue;  // also equal infinities
      double difference = std::abs(a - b);
      worst = std::isnan(difference) ? kInfinity : std::max(worst, difference);
    }
  }
  return worst;
}

double relative_difference(const Tensor& ours, const Tensor& theirs, double factor, double floor) {
  double difference = 0, norm = 0;
  for (int64_t r = 0; r < ours.rows(); ++r) {
    for (int64_t i = 0; i < ours.row_size(); ++i) {
      double b = load_element(theirs, r, i), d = factor * load_element(ours, r, i) - b;
      difference += d * d;
      norm += b * b;
    }
  }
  return std::sqrt(difference) / std::max(std::sqrt(norm), floor);
}

namespace {

Batch forward_batch(const GoldenCase& c, const SafetensorsFile& io) {
  std::string where = c.folder.string();
  if (io.contains("encoder_input_ids")) return golden_sides(io, where);
  std::vector<int64_t> boundaries;
  if (io.contains("blocks")) {
    std::vector<int32_t> blocks = golden_integers(io.tensor("blocks"), "blocks", where);
    boundaries.assign(blocks.begin(), blocks.end());
  }
  Batch batch = golden_batch(io.tensor("input_ids"), io.tensor("targets"), boundaries, where);
  if (c.padding_id >= 0) std::replace(batch.labels.begin(), batch.labels.end(), c.padding_id, kIgnoreLabel);
  return batch;
}

// Rows of another length than those of the case.
void compare_short_rows(ParityCollector& out, Tape& tape, Model& model, const SafetensorsFile& io,
                        const std::string& where, std::optional<double> tolerance) {
  if (!io.contains("short.input_ids")) return;
  Tensor ids = io.tensor("short.input_ids");
  Batch batch = golden_batch(ids, ids, {}, where);
  Tensor logits = model.all_logits(tape, batch);
  Tensor stored = reshaped(io.tensor("short.logits"), logits, "short.logits");
  out.add("logits", "absolute", "short.logits", worst_difference(logits, stored), tolerance);
  tape.reset();
}

// What the encoder gives for the tokens that it reads; the files have rows of one length, with padding behind them.
double worst_encoder_difference(const Tensor& ours, const Tensor& stored, const Batch& batch, const std::string& name) {
  require_shape(stored, {batch.rows, batch.length, ours.row_size()}, name);
  Tensor rows = stored.view({batch.tokens(), ours.row_size()});
  double worst = 0;
  for (size_t row = 0; row < batch.reader.sequences.size(); ++row) {
    const TokenRange& sequence = batch.reader.sequences[row];
    int64_t first = static_cast<int64_t>(row) * batch.length;
    worst = std::max(worst, worst_difference(ours.slice_rows(sequence.begin, sequence.end),
                                             rows.slice_rows(first, first + sequence.size())));
  }
  return worst;
}

void compare_activation(ParityCollector& out, const GoldenCase& c, const Batch& batch, const SafetensorsFile& io,
                        const std::string& ours, const Tensor& value) {
  std::string name = golden_activation_name(ours, c.config);
  if (!io.contains(name)) return;
  Tensor stored = io.tensor(name);
  if (name.find("lse") != std::string::npos) {
    require_shape(stored, {batch.rows, c.config.n_heads, batch.length}, name);
    out.add("log_sum_exp", "absolute", name, worst_lse_difference(value, stored), std::nullopt);
    return;
  }
  bool read = batch.two_sided && name.starts_with("hidden.enc");
  double error = read ? worst_encoder_difference(value, stored, batch, name)
                      : worst_difference(value, reshaped(stored, value, name));
  out.add("activation", "absolute", name, error, std::nullopt);
}

}  // namespace

ParityReport check_forward(Context& ctx, const GoldenCase& c, const Precision& precision, bool judge) {
  if (c.config.arch == Arch::block_transformer) return check_blocks(ctx, c, precision, judge);
  if (is_golden_mu_case(c.json)) return check_mu(ctx, c, precision, judge);
  SafetensorsFile io = SafetensorsFile::open(c.folder / "io.safetensors");
  std::unique_ptr<Model> model = golden_model(c, precision, ParameterStore::Gradients::wanted);
  Batch batch = forward_batch(c, io);

  ParityCollector out;
  auto judged = [&](double tolerance) { return judge ? std::optional(tolerance) : std::nullopt; };
  Tape tape(ctx, precision, Tape::Mode::record);
  Tensor logits = model->all_logits(tape, batch);
  out.add("logits", "absolute", "logits", worst_difference(logits, reshaped(io.tensor("logits"), logits, "logits")),
          judged(c.tolerance.logits_abs));
  tape.reset();
  compare_short_rows(out, tape, *model, io, c.folder.string(), judged(c.tolerance.logits_abs));

  model->observe(
      [&](const std::string& name, const Tensor& value) { compare_activation(out, c, batch, io, name, value); });
  Storage token_loss(precision.residual, {static_cast<int64_t>(batch.loss_labels().size())});
  ops::LossSum loss = model->loss(tape, batch, false, token_loss.tensor());
  tape.backward();
  double tokens = static_cast<double>(std::max<int64_t>(loss.tokens, 1));
  Tensor mean = io.tensor("loss");
  if (mean.elements() != 1) require_shape(mean, {1}, "loss");
  out.add("loss", "absolute", "loss", std::abs(loss.sum / tokens - load_element(mean, 0, 0)),
          judged(c.tolerance.loss_abs));
  Tensor each = reshaped(io.tensor("loss_per_token"), token_loss.tensor(), "loss_per_token");
  out.add("loss_per_token", "absolute", "loss_per_token", worst_difference(token_loss.tensor(), each), std::nullopt);
  compare_gradients(out, *model, io, 1.0 / tokens, c.tolerance, judge);
  if (std::filesystem::exists(c.folder / "gen.safetensors")) check_steps(ctx, out, c, precision, judge);
  return out.report();
}

ParityReport check_generation(Context& ctx, const GoldenCase& c, const Precision& precision, bool judge) {
  SafetensorsFile io = SafetensorsFile::open(c.folder / "io.safetensors");
  std::unique_ptr<Model> model = golden_model(c, precision, ParameterStore::Gradients::none);
  ParityCollector out;
  auto judged = [&](double tolerance) { return judge ? std::optional(tolerance) : std::nullopt; };
  std::vector<std::array<std::string, 4>> runs;  // prompt, output ids, logits, encoder output
  for (int k = 0; io.contains(fmt::format("prompt.{}", k)); ++k) {
    runs.push_back({fmt::format("prompt.{}", k), fmt::format("output_ids.{}", k), fmt::format("logits.{}", k),
                    fmt::format("enc_out.{}", k)});
  }
  if (io.contains("eos.prompt")) runs.push_back({"eos.prompt", "eos.output_ids", "eos.logits", "eos.enc_out"});
  if (runs.empty()) {
    throw InputError({.what = "generation case without prompts", .where = c.folder.string(), .expected = "prompt.0"});
  }
  Tape tape(ctx, precision, Tape::Mode::no_grad);
  for (const auto& [prompt, output, logits, encoder] : runs) {
    model->observe([&, name = encoder](const std::string& seen, const Tensor& value) {
      if (seen != "hidden.enc_norm" || !io.contains(name)) return;
      out.add("encoder_output", "absolute", name, worst_difference(value, reshaped(io.tensor(name), value, name)),
              std::nullopt);
    });
    std::string where = c.folder.string();
    std::vector<int32_t> prompt_ids = golden_integers(io.tensor(prompt), prompt, where);
    std::vector<int32_t> output_ids = golden_integers(io.tensor(output), output, where);
    auto steps = static_cast<int64_t>(output_ids.size()) - 1;
    require_shape(io.tensor(logits), {steps, c.config.vocab_size}, logits);
    GenerationErrors errors = run_generation(tape, *model, prompt_ids, output_ids, io.tensor(logits));
    out.add("logits", "absolute", logits, errors.logits, judged(c.tolerance.logits_abs));
    out.add("generated_ids", "wrong ids", output, static_cast<double>(errors.wrong_ids), judged(0.0));
  }
  return out.report();
}

}  // namespace tandem
