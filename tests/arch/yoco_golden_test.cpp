// The state behind the authors' generation (tests/golden/yoco_*): the shared keys and values, the window's rows, the
// retention states; and their bare operator.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "arch/model_check.h"
#include "arch/yoco_state.h"
#include "formats/authors_names.h"
#include "formats/safetensors.h"
#include "kernels/gated_retention.h"

namespace tandem::test {
namespace {

// Within the cases' tolerance of logits, which are ten times as large as what is compared here.
constexpr double kBound = 5.7e-5;

SafetensorsFile golden_file(const std::string& name, const char* file) {
  return SafetensorsFile::open(std::filesystem::path(TANDEM_SOURCE_DIR) / "tests" / "golden" / name / file);
}

std::unique_ptr<Model> golden_model(SelfDecoder self_decoder, const std::string& name) {
  ModelConfig c;
  c.arch = Arch::yoco;
  c.self_decoder = self_decoder;
  c.window = 16;
  c.vocab_size = 97;
  c.dim = 64;
  c.mlp_dim = self_decoder == SelfDecoder::sliding_window ? 72 : 68;
  c.n_self_heads = 4;
  c.n_heads = 8;
  c.n_kv_heads = 2;
  c.n_encoder_layers = c.n_decoder_layers = 2;
  c.max_seq_len = 128;
  c.norm_eps = c.output_norm_eps = 1e-5;
  auto model = make_model(c, Precision::float32(), ParameterStore::Gradients::none, "test");
  SafetensorsFile weights = golden_file(name, "weights.safetensors");
  for (Parameter& p : model->parameters().all()) {
    int64_t row = 0;
    for (const std::string& part : authors_parameter_names(p.name(), AuthorsModel::yoco)) {
      Tensor stored = weights.tensor(part);
      copy_convert(p.master().slice_rows(row, row + stored.rows()), stored);
      row += stored.rows();
    }
  }
  return model;
}

// The first prompt read, and all but the last of its outputs written.
std::unique_ptr<State> replay(Context& ctx, Model& model, const SafetensorsFile& steps) {
  Tensor ids = steps.tensor("prompt0.output_ids");
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < ids.elements(); ++i) tokens.push_back(static_cast<int32_t>(ids.as<int64_t>()[i]));
  auto state = model.new_state(128);
  Tape tape(ctx, Precision::float32(), Tape::Mode::no_grad);
  model.prefill(tape, *state, {tokens.data(), 26});
  std::vector<float> logits(97);
  for (size_t t = 26; t + 1 < tokens.size(); ++t) {
    tape.reset();
    model.decode(tape, *state, tokens[t], logits);
  }
  return state;
}

// Rows of a column against [1, tokens, heads, size] of the file, whose last row is the state's last token.
template <class Rows>
void expect_rows(const Rows& rows, int64_t length, size_t column, const Tensor& stored, const char* what) {
  int64_t count = stored.shape[1], size = stored.shape[2] * stored.shape[3];
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t k = 0; k < size; ++k) {
      double ours = load_element(rows.pool().column(column), rows.row(length - count + i), k);
      ASSERT_NEAR(ours, load_element(stored.view({count, size}), i, k), kBound) << what << " " << i << ", " << k;
    }
  }
}

void expect_shared(const YocoState& state, const SafetensorsFile& steps) {
  ASSERT_EQ(state.length(), 42);
  expect_rows(state.shared, 42, 0, steps.tensor("prompt0.state.cross.key"), "shared keys");
  expect_rows(state.shared, 42, 1, steps.tensor("prompt0.state.cross.value"), "shared values");
}

TEST(YocoGolden, StateOfTheWindows) {
  Context ctx(2);
  auto model = golden_model(SelfDecoder::sliding_window, "yoco_swa");
  SafetensorsFile steps = golden_file("yoco_swa", "gen.safetensors");
  auto state = replay(ctx, *model, steps);
  auto& ours = static_cast<YocoState&>(*state);
  expect_shared(ours, steps);
  for (size_t layer : {0, 1}) {
    std::string name = fmt::format("prompt0.state.self.{}.prev_", layer);
    expect_rows(ours.recent, 42, 2 * layer, steps.tensor(name + "key"), "keys");
    expect_rows(ours.recent, 42, 2 * layer + 1, steps.tensor(name + "value"), "values");
  }
}

// Ours is the state before the tile and the tile's rows; theirs the state behind them.
TEST(YocoGolden, StateOfTheRetention) {
  Context ctx(2);
  auto model = golden_model(SelfDecoder::gated_retention, "yoco_gret");
  SafetensorsFile steps = golden_file("yoco_gret", "gen.safetensors");
  auto state = replay(ctx, *model, steps);
  auto& ours = static_cast<YocoState&>(*state);
  expect_shared(ours, steps);
  const PagePool& pool = ours.recent.pool();
  for (size_t layer : {0, 1}) {
    Tensor stored = steps.tensor(fmt::format("prompt0.state.self.{}.last_hidden_state", layer)).view({4, 256});
    for (int64_t h = 0; h < 4; ++h) {
      std::vector<double> s(256, 0.0);
      for (int64_t t = 0; t < 42; ++t) {
        int32_t row = ours.recent.row(t);
        double decay = std::exp(load_element(pool.column(4 * layer + 2), row, h));
        for (int64_t a = 0; a < 16; ++a) {
          for (int64_t b = 0; b < 16; ++b) {
            double k = load_element(pool.column(4 * layer), row, 16 * h + a);
            double& each = s[static_cast<size_t>(16 * a + b)];
            each = decay * each + 0.25 * k * load_element(pool.column(4 * layer + 1), row, 16 * h + b);
          }
        }
      }
      for (int64_t i = 0; i < 256; ++i) {
        ASSERT_NEAR(s[static_cast<size_t>(i)], load_element(stored, h, i), kBound) << layer << " " << h << " " << i;
      }
    }
  }
}

// [1, heads, tokens, size] of the file as [tokens, heads, size].
Tensor by_token(Arena& arena, const Tensor& stored) {
  int64_t heads = stored.shape[1], tokens = stored.shape[2], size = stored.shape.rank() == 4 ? stored.shape[3] : 1;
  Tensor out = arena.tensor(DType::f32, {tokens, heads, size});
  for (int64_t h = 0; h < heads; ++h) {
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t i = 0; i < size; ++i) {
        store_element(out, t, h * size + i, stored.as<float>()[(h * tokens + t) * size + i]);
      }
    }
  }
  return out;
}

TEST(YocoGolden, TheBareOperator) {
  Context ctx(2);
  Arena arena;
  SafetensorsFile io = golden_file("yoco_gret", "io.safetensors");
  Tensor q = by_token(arena, io.tensor("op.q")), k = by_token(arena, io.tensor("op.k"));
  Tensor v = by_token(arena, io.tensor("op.v")), decay = by_token(arena, io.tensor("op.log_decay")).view({24, 2});
  Tensor expected = by_token(arena, io.tensor("op.out_chunk")), o = arena.tensor(DType::f32, q.shape);
  Tensor states = arena.zeros(DType::f32, {1, 2, 64}), stored = io.tensor("op.final_state").view({2, 64});
  for (QueryOrder order : {QueryOrder::by_tile, QueryOrder::by_query}) {
    RetentionPlan plan;
    plan.clear(order);
    plan.begin_sequence();
    plan.tiles.push_back({.tokens = 24, .queries = 24, .behind = 0});
    kernels::gated_retention_forward(ctx, o, q, k, v, decay, states, plan, 1 / std::sqrt(8.0));
    for (int64_t t = 0; t < 24; ++t) {
      for (int64_t i = 0; i < 16; ++i) EXPECT_NEAR(load_element(o, t, i), load_element(expected, t, i), 2e-6);
    }
    for (int64_t h = 0; h < 2; ++h) {
      for (int64_t i = 0; i < 64; ++i) {
        EXPECT_NEAR(load_element(states, 0, h * 64 + i), load_element(stored, h, i), 2e-6);
      }
    }
  }
}

}  // namespace
}  // namespace tandem::test
