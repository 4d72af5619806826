// Small models, batches and runs for the tests of training.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "arch/model.h"
#include "base/file.h"
#include "base/json.h"
#include "base/rng.h"
#include "train/step.h"
#include "train/trainer.h"

namespace tandem::test {

inline ModelConfig small_model(Arch arch = Arch::double_decoder) {
  ModelConfig c;
  c.arch = arch;
  c.vocab_size = 41;
  c.dim = 32;
  c.n_heads = 2;
  c.n_encoder_layers = 2;
  c.n_decoder_layers = 1;
  c.max_seq_len = 24;
  c.mup_base_dim = 16;
  c.mup_base_head_dim = 16;
  return c;
}

// Random rows; every seventh label is ignored.
inline Batch random_batch(const ModelConfig& model, int64_t rows, uint64_t seed) {
  Rng rng(seed, 0);
  Batch batch;
  batch.rows = rows;
  batch.length = model.max_seq_len;
  for (int64_t t = 0; t < batch.tokens(); ++t) {
    auto id = [&] { return static_cast<int32_t>(rng.below(static_cast<uint32_t>(model.vocab_size))); };
    batch.ids.push_back(id());
    batch.positions.push_back(static_cast<int32_t>(t % batch.length));
    batch.segments.push_back(0);
    batch.labels.push_back(t % 7 == 6 ? kIgnoreLabel : id());
  }
  for (int32_t row = 0; row < rows; ++row) {
    for (int32_t boundary : {5, 11, 17}) {
      batch.boundaries.push_back(row * static_cast<int32_t>(batch.length) + boundary);
    }
  }
  return batch;
}

// Rows [begin, end) of a batch, with their boundaries.
inline Batch rows_of(const Batch& batch, int64_t begin, int64_t end) {
  auto part = [&](const std::vector<int32_t>& all) {
    return std::vector<int32_t>(all.begin() + begin * batch.length, all.begin() + end * batch.length);
  };
  Batch out;
  out.rows = end - begin;
  out.length = batch.length;
  out.ids = part(batch.ids);
  out.positions = part(batch.positions);
  out.segments = part(batch.segments);
  out.labels = part(batch.labels);
  for (int32_t boundary : batch.boundaries) {
    if (boundary >= begin * batch.length && boundary < end * batch.length) {
      out.boundaries.push_back(boundary - static_cast<int32_t>(begin * batch.length));
    }
  }
  return out;
}

// A model with everything that a step needs.
struct Bench {
  explicit Bench(const ModelConfig& config, const OptimizerConfig& settings = {}, int threads = 2,
                 Precision precision = Precision::float32())
      : ctx(threads),
        model(make_model(config, precision, ParameterStore::Gradients::wanted, "test")),
        tape(ctx, precision, Tape::Mode::record),
        optimizer(ctx, model->parameters(), settings, config.matrix_rate_factor()),
        step(*model, tape, optimizer) {
    model->parameters().initialise(3);
  }

  Context ctx;
  std::unique_ptr<Model> model;
  Tape tape;
  Optimizer optimizer;
  TrainingStep step;
};

inline std::vector<float> values(const Tensor& t) { return {t.as<float>(), t.as<float>() + t.elements()}; }

inline bool same_parameters(const ParameterStore& a, const ParameterStore& b) {
  for (size_t i = 0; i < a.all().size(); ++i) {
    if (values(a.all()[i].master()) != values(b.all()[i].master())) return false;
  }
  return true;
}

// A run of a second or so on made-up stories.
inline RunConfig small_run(const std::filesystem::path& output) {
  RunConfig config;
  config.output = output.string();
  config.steps = 12;
  config.micro_batch = 2;
  config.grad_accum = 2;
  config.eval_rows = 4;
  config.eval_every = 4;
  config.checkpoint_every = 5;
  config.log_every = 2;
  config.threads = 2;
  config.model = small_model();
  config.model.vocab_size = 0;
  config.model.max_seq_len = 64;
  config.data.synthetic_bytes = 60000;
  config.data.vocab_size = 300;
  config.optimizer.lr = 4e-3;
  return config;
}

// Mean loss over the held-out rows, and nothing else.
inline HeldOutScore plain_score(Model& model, Tape& tape, const HeldOut& rows) {
  Batch batch = rows.all();
  Rng rng(11, 0);
  model.prepare(batch, rng);
  ops::LossSum sum = model.loss(tape, batch, true);
  auto n = static_cast<double>(sum.tokens);
  return {.loss = sum.sum / n, .bits_per_byte = 1, .accuracy = static_cast<double>(sum.correct) / n};
}

inline TrainHooks quiet_hooks() {
  TrainHooks hooks;
  hooks.validate = plain_score;
  hooks.notice = [](const std::string&) {};
  return hooks;
}

inline std::string model_bytes(const RunConfig& config) {
  return read_file(std::filesystem::path(config.output) / "model/model.safetensors");
}

// The lines of a run's log without what depends on the clock.
inline std::vector<Json> log_lines(const RunConfig& config) {
  std::vector<Json> lines;
  std::ifstream in(std::filesystem::path(config.output) / "log.jsonl");
  for (std::string line; std::getline(in, line);) {
    Json json = Json::parse(line);
    json.erase("seconds");
    json.erase("tokens_per_second");
    lines.push_back(json);
  }
  return lines;
}

}  // namespace tandem::test
