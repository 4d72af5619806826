#include "train/memory.h"

#include <algorithm>

#include "base/dry_run.h"
#include "base/json.h"
#include "base/machine.h"

namespace tandem {
namespace {

int64_t weight_bytes(const Parameter& p) {
  return p.master().bytes() + (p.has_own_compute() ? p.compute().bytes() : 0);
}

// A pass over `rows` rows of the run. Rows beyond kDryTokens cost what the last half of those below costs.
PassMemory of_rows(const MemoryInput& in, int64_t rows, Tape::Mode mode) {
  int64_t most = std::max<int64_t>(1, kDryTokens / in.config.model.max_seq_len);
  auto measured = [&](int64_t n) { return pass_memory(in.ctx, in.model, in.config.recompute, in.rows(n), mode); };
  if (rows <= most) return measured(rows);
  int64_t fewer = std::max<int64_t>(1, most / 2), more = std::max(most, fewer + 1);
  PassMemory small = measured(fewer), large = measured(more);
  auto at_rows = [&](int64_t PassMemory::*part) {
    return large.*part + (large.*part - small.*part) / (more - fewer) * (rows - more);
  };
  return {at_rows(&PassMemory::arena), at_rows(&PassMemory::pool), at_rows(&PassMemory::scratch)};
}

}  // namespace

PassMemory pass_memory(Context& ctx, Model& model, Recompute recompute, const Batch& packed, Tape::Mode mode) {
  Batch batch = packed;
  Rng rng(0, 0);
  model.prepare(batch, rng);
  DryRun dry;
  Tape tape(ctx, model.parameters().precision(), mode);
  tape.set_recompute(recompute);
  model.loss(tape, batch, mode == Tape::Mode::no_grad);
  if (mode == Tape::Mode::record) tape.backward();
  return {.arena = static_cast<int64_t>(tape.arena().most_used_bytes()),
          .pool = static_cast<int64_t>(tape.pool_bytes()),
          .scratch = static_cast<int64_t>(ctx.scratch().most_used_bytes())};
}

Batch random_rows(const ModelConfig& model, Objective objective, int64_t rows, Rng& rng, int64_t document_tokens) {
  const int64_t document = document_tokens > 0 ? document_tokens : model.max_seq_len;
  Batch batch;
  batch.rows = rows;
  batch.length = model.max_seq_len;
  batch.objective = objective == Objective::conversation ? plain_objective(model.arch) : objective;
  auto vocab = static_cast<uint32_t>(model.vocab_size);
  batch.isolated = document_tokens > 0;
  for (int64_t i = 0; i < batch.tokens(); ++i) {
    const int64_t place = i % batch.length;
    batch.ids.push_back(static_cast<int32_t>(rng.below(vocab)));
    batch.labels.push_back(static_cast<int32_t>(rng.below(vocab)));
    if (batch.isolated && place % document == document - 1) batch.labels.back() = kIgnoreLabel;
    batch.positions.push_back(static_cast<int32_t>(place % document));
    batch.segments.push_back(static_cast<int32_t>(place / document));
  }
  return batch;
}

MemoryEstimate model_memory(const MemoryInput& in) {
  MemoryEstimate memory;
  for (const Parameter& p : in.model.parameters().all()) {
    memory.parameters += weight_bytes(p);
    memory.gradients += p.grad().bytes();
  }
  memory.gradients += in.exchange_bytes;
  int64_t all = in.model.parameters().elements();
  memory.moments = moment_bytes(in.config.optimizer.state, in.moment_elements < 0 ? all : in.moment_elements);
  PassMemory most = of_rows(in, in.config.micro_batch, Tape::Mode::record);
  if (in.validation_rows > 0) {
    PassMemory validation = of_rows(in, in.validation_rows, Tape::Mode::no_grad);
    for (int64_t PassMemory::*part : {&PassMemory::arena, &PassMemory::pool, &PassMemory::scratch}) {
      most.*part = std::max(most.*part, validation.*part);
    }
  }
  memory.activations = most.total();
  return memory;
}

int64_t program_bytes(int64_t touched) {
  ProcessMemory now = process_memory();
  return std::max<int64_t>(0, now.resident - touched) + now.program;
}

OrderedJson to_json(const MemoryEstimate& m) {
  return {{"total", m.total()},      {"parameters", m.parameters},   {"gradients", m.gradients},
          {"moments", m.moments},    {"activations", m.activations}, {"program", m.program},
          {"mapped_files", m.mapped}};
}

}  // namespace tandem
