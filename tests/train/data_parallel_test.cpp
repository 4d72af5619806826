// Ranks that share a step: what each owns, when gradients set out, and that the result is that of one rank.
#include "train/data_parallel.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "base/error.h"
#include "base/hash.h"
#include "dist/collectives.h"
#include "dist/thread_ranks.h"
#include "train/row_share.h"
#include "train/training_check.h"

namespace tandem::test {
namespace {

constexpr std::array kArchs{Arch::decoder, Arch::double_decoder, Arch::encoder_decoder, Arch::yoco,
                            Arch::block_transformer};

ModelConfig small_text_model(Arch arch) {
  ModelConfig c = small_model(arch);
  c.bos_id = 1;
  c.eos_id = 2;
  c.sentinel_start = 3;
  c.n_sentinels = 8;
  return c;
}

// Wide enough for parameters of several units.
ModelConfig wide_model() {
  ModelConfig c = small_model();
  c.vocab_size = 701;
  c.dim = 64;
  return c;
}

std::unique_ptr<Model> model_of(const ModelConfig& config, Precision precision = Precision::float32()) {
  return make_model(config, precision, ParameterStore::Gradients::wanted, "test");
}

TEST(Sharding, EveryElementHasOneOwnerAndCutsAreAtUnits) {
  auto model = model_of(wide_model());
  const ParameterStore& parameters = model->parameters();
  for (int ranks : {1, 2, 3, 7}) {
    for (int64_t bucket : {int64_t{1}, int64_t{20000}, int64_t{1} << 30}) {
      Sharding sharding(parameters, ranks, bucket);
      std::set<size_t> seen;
      for (const auto& list : sharding.buckets()) {
        for (size_t index : list) EXPECT_TRUE(seen.insert(index).second);
      }
      EXPECT_EQ(seen.size(), parameters.all().size());
      int64_t owned = 0;
      for (int rank = 0; rank < ranks; ++rank) owned += sharding.owned_elements(rank);
      EXPECT_EQ(owned, parameters.elements());
      for (size_t i = 0; i < parameters.all().size(); ++i) {
        int64_t end = 0;
        for (int rank = 0; rank < ranks; ++rank) {
          ElementRange range = sharding.range(i, rank);
          if (range.size() == 0) continue;
          EXPECT_EQ(range.begin, end);
          EXPECT_EQ(range.begin % kShardUnit, 0);
          end = range.end;
        }
        EXPECT_EQ(end, parameters.all()[i].shape().elements());
      }
    }
  }
}

TEST(Sharding, SharesAreEven) {
  ModelConfig config = wide_model();
  config.vocab_size = 20000;
  auto model = model_of(config);
  Sharding sharding(model->parameters(), 4, 1 << 30);
  for (int rank = 0; rank < 4; ++rank) {
    EXPECT_NEAR(static_cast<double>(sharding.owned_elements(rank)),
                static_cast<double>(model->parameters().elements()) / 4, kShardUnit);
  }
}

// Notes what gradients are when they are said to be complete.
class Witness final : public GradientObserver {
 public:
  explicit Witness(const ParameterStore& parameters) : parameters_(parameters) {
    for (const Parameter& p : parameters.all()) missing_[p.grad().data] = 0;
  }
  void expect(const void* gradient) override { ++missing_.at(gradient); }
  void backward_begins() override {
    for (const Parameter& p : parameters_.all()) note(p.grad().data);
  }
  void added(const void* gradient) override {
    --missing_.at(gradient);
    note(gradient);
  }

  static uint64_t hash(const Tensor& t) {
    return hash64({static_cast<const char*>(t.data), static_cast<size_t>(t.bytes())});
  }
  const std::map<const void*, uint64_t>& complete() const { return complete_; }

 private:
  void note(const void* gradient) {
    if (missing_.at(gradient) != 0) return;
    for (const Parameter& p : parameters_.all()) {
      if (p.grad().data != gradient) continue;
      EXPECT_TRUE(complete_.emplace(gradient, hash(p.grad())).second) << p.name() << " is complete twice";
    }
  }

  const ParameterStore& parameters_;
  std::map<const void*, int64_t> missing_;
  std::map<const void*, uint64_t> complete_;
};

void gradients_are_complete_when_told(const ModelConfig& config) {
  Bench bench(config);
  Batch batch = random_batch(config, 2, 5);
  batch.objective = default_objective(config.arch);
  Rng rng(1, 0);
  bench.model->prepare(batch, rng);
  bench.model->parameters().zero_gradients();
  Witness witness(bench.model->parameters());
  bench.tape.observe(&witness);
  bench.model->loss(bench.tape, batch);
  bench.tape.backward();
  for (const Parameter& p : bench.model->parameters().all()) {
    auto found = witness.complete().find(p.grad().data);
    ASSERT_NE(found, witness.complete().end()) << p.name() << " of " << arch_name(config.arch);
    EXPECT_EQ(found->second, Witness::hash(p.grad())) << p.name() << " of " << arch_name(config.arch);
  }
}

TEST(GradientObserver, ACompleteGradientDoesNotChange) {
  for (Arch arch : kArchs) gradients_are_complete_when_told(small_text_model(arch));
}

// The operations that only some variants use.
TEST(GradientObserver, NorInTheVariantsOfArchitectures) {
  for (MemoryKv kv : {MemoryKv::per_layer_shared, MemoryKv::per_layer, MemoryKv::one_for_all}) {
    ModelConfig config = small_text_model(Arch::double_decoder);
    config.n_decoder_layers = 2;
    config.memory_kv = kv;
    gradients_are_complete_when_told(config);
  }
  ModelConfig gated = small_text_model(Arch::double_decoder);
  gated.logit_biases = true;
  gradients_are_complete_when_told(gated);
  for (SelfDecoder kind : {SelfDecoder::sliding_window, SelfDecoder::gated_retention}) {
    ModelConfig config = small_text_model(Arch::yoco);
    config.self_decoder = kind;
    gradients_are_complete_when_told(config);
  }
  for (BlockEmbedder embedder : {BlockEmbedder::lookup, BlockEmbedder::roberta, BlockEmbedder::cls}) {
    for (TokenDecoder decoder : {TokenDecoder::prefix, TokenDecoder::summation, TokenDecoder::cross_attention}) {
      ModelConfig config = small_text_model(Arch::block_transformer);
      config.block.embedder = embedder;
      config.block.token_decoder = decoder;
      if (embedder != BlockEmbedder::lookup) config.block.embedder_dim = 32;
      gradients_are_complete_when_told(config);
    }
  }
}

// What a step leaves behind on one rank.
struct Outcome {
  std::vector<StepResult> steps;
  std::vector<std::vector<double>> gradients;  // of the last step, over its tokens
  std::vector<std::vector<float>> parameters;
};

struct Setting {
  ModelConfig config;
  Precision precision = Precision::float32();
  bool zero = false;
  int64_t bucket_elements = 20000;
  int64_t steps = 3;
  OptimizerState state = OptimizerState::float32;
};

// `ranks` null: one rank without any communicator.
Outcome train_steps(Communicator* ranks, const Setting& setting) {
  constexpr int64_t kRows = 4, kPasses = 2;
  Context ctx(1);
  auto model = model_of(setting.config, setting.precision);
  model->parameters().initialise(3);
  std::optional<DataParallel> parallel;
  if (ranks) {
    parallel.emplace(*ranks, ctx, model->parameters(),
                     DataParallelOptions{.zero = setting.zero, .bucket_elements = setting.bucket_elements});
  }
  OptimizerConfig optimizer_config{.state = setting.state};
  Optimizer optimizer(ctx, model->parameters(), optimizer_config, 1,
                      parallel ? parallel->owned() : std::vector<ElementRange>{});
  Tape tape(ctx, setting.precision, Tape::Mode::record);
  TrainingStep step(*model, tape, optimizer, parallel ? &*parallel : nullptr);
  RowShare share = share_of_rows(kRows, kPasses, ranks ? ranks->rank() : 0, ranks ? ranks->size() : 1);
  Outcome outcome;
  for (int64_t n = 0; n < setting.steps; ++n) {
    for (int64_t pass = 0; pass < kPasses; ++pass) {
      if (!share.has_pass(pass)) continue;
      Batch all = random_batch(setting.config, kRows, static_cast<uint64_t>(n * kPasses + pass));
      step.accumulate(rows_of(all, share.first_row, share.first_row + share.rows), share.last_pass(pass));
    }
    outcome.steps.push_back(step.finish(1.0));
  }
  double scale = 1.0 / static_cast<double>(outcome.steps.back().tokens);
  for (const Parameter& p : model->parameters().all()) {
    std::vector<double> gradient;
    for (int64_t r = 0; r < p.grad().rows(); ++r) {
      for (int64_t c = 0; c < p.grad().row_size(); ++c) gradient.push_back(scale * load_element(p.grad(), r, c));
    }
    outcome.gradients.push_back(std::move(gradient));
    outcome.parameters.push_back(values(p.master()));
  }
  return outcome;
}

std::vector<Outcome> on_ranks(ThreadRanks& ranks, int size, const Setting& setting) {
  std::vector<Outcome> outcomes(static_cast<size_t>(size));
  ranks.run([&](Communicator& comm) { outcomes[static_cast<size_t>(comm.rank())] = train_steps(&comm, setting); });
  return outcomes;
}

double relative_difference(const std::vector<double>& a, const std::vector<double>& b) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    size += b[i] * b[i];
  }
  return size > 0 ? std::sqrt(difference / size) : std::sqrt(difference);
}

// In double, sums over rows in another order differ by some units of 1e-16 times the number of terms. Masters and
// losses over steps go through float32 parameters, so that only the first step is compared that closely.
TEST(DataParallel, GradientsOfManyRanksAreThoseOfOne) {
  Setting setting{.config = wide_model(), .precision = Precision::reference(), .steps = 1};
  Outcome alone = train_steps(nullptr, setting);
  for (int size : {2, 4, 8}) {
    ThreadRanks ranks(size);
    for (const Outcome& outcome : on_ranks(ranks, size, setting)) {
      EXPECT_EQ(outcome.steps[0].tokens, alone.steps[0].tokens);
      EXPECT_NEAR(outcome.steps[0].loss, alone.steps[0].loss, 1e-12);
      EXPECT_NEAR(outcome.steps[0].grad_norm, alone.steps[0].grad_norm, 1e-12);
      for (size_t i = 0; i < alone.gradients.size(); ++i) {
        EXPECT_LT(relative_difference(outcome.gradients[i], alone.gradients[i]), 1e-12) << i;
      }
    }
  }
}

TEST(DataParallel, AllRanksHaveTheSameBitsInEveryRun) {
  Setting setting{.config = wide_model()};
  ThreadRanks ranks(4);
  std::vector<Outcome> first = on_ranks(ranks, 4, setting), second = on_ranks(ranks, 4, setting);
  for (const std::vector<Outcome>& run : {first, second}) {
    for (const Outcome& outcome : run) {
      EXPECT_TRUE(outcome.parameters == first[0].parameters);
      EXPECT_EQ(outcome.steps.back().grad_norm, first[0].steps.back().grad_norm);
      EXPECT_EQ(outcome.steps.back().loss, first[0].steps.back().loss);
    }
  }
}

TEST(DataParallel, ZeroGivesTheSameBits) {
  for (Precision precision : {Precision::float32(), Precision::bfloat16()}) {
    if (precision == Precision::bfloat16() && !has_bf16_products(Context(1).isa())) continue;
    Setting setting{.config = wide_model(), .precision = precision};
    ThreadRanks ranks(4);
    std::vector<Outcome> plain = on_ranks(ranks, 4, setting);
    setting.zero = true;
    std::vector<Outcome> shared = on_ranks(ranks, 4, setting);
    for (const Outcome& outcome : shared) {
      EXPECT_TRUE(outcome.parameters == plain[0].parameters);
      for (size_t n = 0; n < plain[0].steps.size(); ++n) {
        EXPECT_EQ(outcome.steps[n].grad_norm, plain[0].steps[n].grad_norm);
        EXPECT_EQ(outcome.steps[n].loss, plain[0].steps[n].loss);
      }
    }
  }
}

TEST(DataParallel, ZeroGivesTheSameBitsWithMomentsInFewBits) {
  for (OptimizerState state : {OptimizerState::bfloat16, OptimizerState::bits8}) {
    Setting setting{.config = wide_model(), .state = state};
    ThreadRanks ranks(4);
    std::vector<Outcome> plain = on_ranks(ranks, 4, setting);
    setting.zero = true;
    for (const Outcome& outcome : on_ranks(ranks, 4, setting)) {
      EXPECT_TRUE(outcome.parameters == plain[0].parameters) << state_name(state);
    }
  }
}

TEST(DataParallel, BucketsDoNotChangeTheBits) {
  Setting setting{.config = wide_model(), .bucket_elements = 1};
  ThreadRanks ranks(2);
  Outcome many = on_ranks(ranks, 2, setting)[0];
  setting.bucket_elements = 1 << 30;
  EXPECT_TRUE(on_ranks(ranks, 2, setting)[0].parameters == many.parameters);
}

TEST(DataParallel, BytesAreAsPredicted) {
  for (bool zero : {false, true}) {
    for (int size : {2, 4}) {
      Setting setting{.config = wide_model(), .zero = zero};
      ThreadRanks ranks(size);
      on_ranks(ranks, size, setting);
      auto model = model_of(setting.config);
      EXPECT_EQ(ranks.bytes_sent(), setting.steps * step_bytes(model->parameters(), size, zero)) << size << zero;
    }
  }
}

TEST(DataParallel, GradientsSetOutBeforeTheBackwardPassHasEnded) {
  ThreadRanks ranks(2);
  ranks.run([](Communicator& comm) {
    Context ctx(1);
    ModelConfig config = wide_model();
    auto model = model_of(config);
    DataParallel parallel(comm, ctx, model->parameters(), {.bucket_elements = 20000});
    Tape tape(ctx, Precision::float32(), Tape::Mode::record);
    tape.observe(&parallel);
    Batch batch = random_batch(config, 2, 5);
    model->loss(tape, batch);
    tape.backward();
    parallel.finish_gradients();
    auto buckets = static_cast<int64_t>(parallel.sharding().buckets().size());
    EXPECT_GE(buckets, 4);
    // All but those of the parameters that come last: the embedding and the first layer.
    EXPECT_GE(parallel.early_buckets(), buckets / 2);
    EXPECT_LT(parallel.early_buckets(), buckets);
  });
}

TEST(RowShare, WholeMicroBatchesFirstThenRows) {
  EXPECT_EQ(share_of_rows(4, 4, 1, 2), (RowShare{.first_pass = 2, .passes = 2, .first_row = 0, .rows = 4}));
  EXPECT_EQ(share_of_rows(4, 1, 1, 2), (RowShare{.first_pass = 0, .passes = 1, .first_row = 2, .rows = 2}));
  EXPECT_EQ(share_of_rows(4, 2, 3, 4), (RowShare{.first_pass = 1, .passes = 1, .first_row = 2, .rows = 2}));
  EXPECT_EQ(share_of_rows(3, 2, 5, 6), (RowShare{.first_pass = 1, .passes = 1, .first_row = 2, .rows = 1}));
  EXPECT_THROW(share_of_rows(4, 1, 0, 3), InputError);
  EXPECT_THROW(share_of_rows(4, 2, 0, 16), InputError);
}

// Rows of conversations: prompts and responses of random lengths, each conversation a segment.
Batch conversation_batch(const ModelConfig& config, int64_t rows) {
  Batch batch = random_batch(config, rows, 9);
  batch.boundaries.clear();
  batch.isolated = true;
  batch.objective = Objective::conversation;
  Rng rng(4, 0);
  batch.labels.assign(batch.ids.size(), kIgnoreLabel);
  for (int64_t row = 0; row < rows; ++row) {
    int32_t segment = 0;
    for (int64_t t = 0; t < batch.length; ++segment) {
      int64_t prompt = 2 + rng.below(3), response = 2 + rng.below(4);
      bool padding = t + prompt + response > batch.length;
      int64_t end = padding ? batch.length : t + prompt + response;
      for (int64_t at = t; at < end; ++at) {
        auto index = static_cast<size_t>(row * batch.length + at);
        batch.segments[index] = segment;
        batch.positions[index] = static_cast<int32_t>(at - t);
        Role role = at < t + prompt ? Role::prompt : Role::response;
        batch.roles.push_back(padding ? Role::padding : role);
        if (!padding && at >= t + prompt && at + 1 < end) batch.labels[index] = batch.ids[index + 1];
      }
      t = end;
    }
  }
  return batch;
}

void parts_add_up_to_the_whole(Arch arch, Objective objective) {
  ModelConfig config = small_text_model(arch);
  Bench bench(config, {}, 1, Precision::reference());
  bench.tape.set_mode(Tape::Mode::no_grad);
  Batch packed = objective == Objective::conversation ? conversation_batch(config, 4) : random_batch(config, 4, 9);
  packed.objective = objective;
  Batch prepared = packed;
  Rng rng(8, 0);
  bench.model->prepare(prepared, rng);
  auto loss = [&](const Batch& batch) {
    bench.tape.reset();
    return bench.model->loss(bench.tape, batch);
  };
  ops::LossSum whole = loss(prepared), sum;
  for (auto [begin, end] : {std::pair{0, 1}, std::pair{1, 3}, std::pair{3, 4}}) {
    ops::LossSum part = loss(rows_of_prepared(*bench.model, packed, prepared, begin, end));
    sum.sum += part.sum;
    sum.tokens += part.tokens;
  }
  SCOPED_TRACE(fmt::format("{} {}", arch_name(arch), objective_name(objective)));
  EXPECT_GT(whole.tokens, 0);
  EXPECT_EQ(sum.tokens, whole.tokens);
  EXPECT_NEAR(sum.sum, whole.sum, 1e-10 * whole.sum);
}

TEST(RowShare, PartsOfAPreparedBatchAddUpToTheWhole) {
  for (Arch arch : kArchs) {
    for (Objective objective :
         {Objective::text, Objective::prefix_lm, Objective::span_corruption, Objective::conversation}) {
      if (learns(arch, objective)) parts_add_up_to_the_whole(arch, objective);
    }
  }
}

}  // namespace
}  // namespace tandem::test
