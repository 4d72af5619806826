#include "eval/comparison.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <deque>

#include "arch/model_check.h"

namespace tandem::test {
namespace {

Contender given(Arch arch) {
  ModelConfig config = small_config(arch);
  config.dim = 64;
  config.n_encoder_layers = 8;
  config.n_decoder_layers = 4;
  config.max_seq_len = 512;
  config.sentinel_start = -1;
  return {.name = sizes_name(config), .config = config};
}

TEST(Contenders, EveryArchitectureStandsInTheFamily) {
  FieldList fields;
  ModelConfig any;
  list_fields(fields, any);
  std::vector<std::string> names = fields.choices("arch");
  EXPECT_GE(names.size(), 3u);
  EXPECT_TRUE(fields.choices("dim").empty() && fields.choices("nothing").empty());
  for (Arch arch : {Arch::double_decoder, Arch::decoder}) {
    Contender base = given(arch);
    auto wanted = static_cast<double>(non_embedding_parameters(base.config));
    std::vector<Contender> family = family_of(base, 1000);
    EXPECT_EQ(family.size(), names.size() + 4)
        << "one more projection of memory, Mu, a Llama, one of equal decode cost";
    int64_t givens = 0;
    for (const std::string& name : names) {
      auto is = [&](const Contender& each) { return arch_name(each.config.arch) == name; };
      EXPECT_TRUE(std::any_of(family.begin(), family.end(), is)) << name;
    }
    for (const Contender& each : family) {
      if (!each.refusal.empty()) continue;
      givens += each.role == ContenderRole::given ? 1 : 0;
      auto parameters = static_cast<double>(non_embedding_parameters(each.config));
      if (each.role == ContenderRole::equal_decode_cost) {
        EXPECT_EQ(each.config.layers(), 4);
        EXPECT_NEAR(parameters, wanted / 3, 0.01 * wanted);
        continue;
      }
      // As near as whole vectors of MLP inputs come.
      ModelConfig wider = each.config;
      wider.mlp_dim = each.config.mlp_size() + 8;
      double step = static_cast<double>(non_embedding_parameters(wider)) - parameters;
      EXPECT_LE(std::abs(parameters - wanted), std::max(0.005 * wanted, 0.5 * step)) << each.name;
    }
    EXPECT_EQ(givens, 1);
  }
}

TEST(Contenders, AMuStandsBesideOthersInTheirOwnForm) {
  Contender base = given(Arch::double_decoder);
  std::vector<Contender> family = family_of(base, 512);
  auto mu = std::find_if(family.begin(), family.end(), [](const Contender& each) { return each.name == "mu 8+4"; });
  ASSERT_NE(mu, family.end());
  EXPECT_EQ(mu->refusal, "");
  EXPECT_EQ(mu->config.n_heads * mu->config.head_size(), 48);  // of 64
  EXPECT_EQ(mu->config.kv_heads(), 3);
  EXPECT_TRUE(mu->config.biases);
  // The other way round nobody keeps what only Mu has.
  mu->role = ContenderRole::given;
  mu->config.rope_ntk_factor = 2;
  family = family_of(*mu, 512);
  EXPECT_EQ(family.size(), 9u);
  for (const Contender& each : family) {
    EXPECT_EQ(each.refusal, "") << each.name;
    if (each.name == "mu 8+4") {
      EXPECT_EQ(each.role, ContenderRole::given);
      EXPECT_EQ(each.config.rope_ntk_factor, 2);
      continue;
    }
    EXPECT_EQ(each.config.n_heads, 8) << each.name;
    EXPECT_FALSE(each.config.biases) << each.name;
    EXPECT_EQ(each.config.kv_heads(), 8) << each.name;
  }
}

TEST(Contenders, WhatTheSizesDoNotFitSaysWhy) {
  Contender base = given(Arch::decoder);
  base.config.n_encoder_layers = 0;
  for (const Contender& each : family_of(base, 512)) {
    if (each.config.arch != Arch::double_decoder) continue;
    EXPECT_NE(each.refusal.find("n_encoder_layers"), std::string::npos) << each.refusal;
  }
  EXPECT_EQ(sizes_name(base.config), "decoder 4");
}

class Comparing : public testing::Test {
 protected:
  Comparing() {
    for (Contender& each : family_of(given(Arch::double_decoder), 512)) contenders_.push_back(std::move(each));
    for (const Contender& each : contenders_) {
      bool made = each.refusal.empty();
      models_.push_back({&each, made ? random_model(each.config, Precision::float32()) : nullptr});
    }
    plan_.contexts = {30, 200};
    plan_.batches = {1, 3};
    plan_.rounds = 2;
    plan_.slice_seconds = 0;
    plan_.cell_bytes = int64_t{1} << 30;
    plan_.serving = {.requests = 5, .prompt = 65, .written = 10};
  }
  const ContenderResult& of(const ComparisonResult& result, const std::string& name) const {
    for (size_t m = 0; m < models_.size(); ++m) {
      if (contenders_[m].name == name) return result.models[m];
    }
    ADD_FAILURE() << "no " << name;
    return result.models.front();
  }

  std::deque<Contender> contenders_;
  std::vector<LoadedContender> models_;
  ComparisonPlan plan_;
  Context ctx_{1};
};

TEST_F(Comparing, EveryCellIsMeasured) {
  double furthest = 0;
  ComparisonResult result = compare(ctx_, plan_, models_, {.progress = [&](double fraction, const std::string&) {
                                      EXPECT_GE(fraction, furthest);
                                      furthest = fraction;
                                    }});
  EXPECT_FALSE(result.stopped);
  EXPECT_NEAR(furthest, 1, 1e-9);
  EXPECT_GT(result.peak_read_bytes_per_second, 0);
  for (size_t m = 0; m < models_.size(); ++m) {
    const ContenderResult& each = result.models[m];
    if (!models_[m].model) continue;
    EXPECT_EQ(each.parameters, models_[m].model->parameters().elements());
    ASSERT_EQ(each.first_token.size(), 2u);
    ASSERT_EQ(each.cache.size(), 2u);
    ASSERT_EQ(each.decode.size(), 4u);
    for (const DecodeCell& cell : each.decode) {
      EXPECT_EQ(cell.note, "");
      EXPECT_GT(cell.step_seconds, 0);
      EXPECT_EQ(cell.cache_bytes, cell.batch * sequence_pages(*models_[m].model, cell.context, 2).writing);
    }
    EXPECT_EQ(each.serving.figures.error, "");
    EXPECT_EQ(each.serving.figures.written_tokens, 5 * 10);
    EXPECT_EQ(each.serving.figures.read_tokens, 5 * 64);
    EXPECT_GT(each.serving.figures.work_rate(), 0);
    EXPECT_GE(each.serving.figures.decode_rate(), each.serving.figures.work_rate());
  }
  const ContenderResult &own = of(result, "double_decoder 8+4"), &twin = of(result, "decoder 12");
  for (size_t c = 0; c < 2; ++c) {
    EXPECT_EQ(3 * own.cache[c].bytes.live, twin.cache[c].bytes.live);
    EXPECT_EQ(12 * of(result, "double_decoder 8+4, one_for_all").cache[c].bytes.live, twin.cache[c].bytes.live);
    EXPECT_EQ(24 * own.cache[c].bytes.at_rest, twin.cache[c].bytes.live);
    EXPECT_EQ(of(result, "decoder 4").cache[c].bytes.live, own.cache[c].bytes.live);
  }
  EXPECT_EQ(twin.serving.figures.most_sequences, 4) << "the limit";
  EXPECT_EQ(own.serving.cache_bytes, twin.serving.cache_bytes);
  EXPECT_EQ(own.serving.figures.most_sequences, 5);
}

TEST_F(Comparing, WhatDoesNotFitSaysSo) {
  auto bytes = [&](Arch arch, int64_t context) {
    ModelConfig config = given(arch).config;
    return sequence_pages(*random_model(config, Precision::float32()), context, 2);
  };
  // Nine sequences of the twin do not fit at 200 tokens, one of each does with a short pass that reads. Five of each
  // fit, not all models at once: those that had to go come back.
  plan_.batches = {1, 5, 9};
  plan_.chunk = 16;
  plan_.cell_bytes = 9 * bytes(Arch::decoder, 200).writing - 1;
  auto model = random_model(given(Arch::double_decoder).config, Precision::float32());
  plan_.serving.cache_bytes = sequence_pages(*model, plan_.serving.prompt - 1, plan_.serving.written).reading - 1;
  ComparisonResult result = compare(ctx_, plan_, models_, {});
  const ContenderResult &own = of(result, "double_decoder 8+4"), &twin = of(result, "decoder 12");
  for (const ContenderResult* each : {&own, &twin, &of(result, "llama 12"), &of(result, "encoder_decoder 8+4")}) {
    ASSERT_EQ(each->decode.size(), 6u);
    EXPECT_EQ(each->decode[4].note, "");
    EXPECT_GT(each->decode[4].step_seconds, 0);
  }
  EXPECT_EQ(twin.decode.back().step_seconds, 0);
  EXPECT_EQ(twin.decode.back().note.find("does not fit: "), 0u) << twin.decode.back().note;
  EXPECT_EQ(twin.decode.back().cache_bytes, 9 * bytes(Arch::decoder, 200).writing);
  EXPECT_EQ(own.decode.back().note, "");
  EXPECT_GT(own.decode.back().step_seconds, 0);
  EXPECT_NE(own.serving.note.find("does not fit"), std::string::npos);
  EXPECT_EQ(own.serving.figures.seconds, 0);
  plan_.cell_bytes = 1;
  plan_.contexts = {30, 100000};
  plan_.serving.requests = 0;
  result = compare(ctx_, plan_, models_, {});
  EXPECT_NE(of(result, "decoder 12").first_token[0].note.find("does not fit"), std::string::npos);
  EXPECT_NE(of(result, "decoder 12").first_token[1].note.find("longer than the model's rows"), std::string::npos);
}

TEST_F(Comparing, StoppedKeepsWhatWasMeasured) {
  double reached = 0;
  ComparisonHooks hooks{.should_stop = [&] { return reached > 0.35; },
                        .progress = [&](double fraction, const std::string&) { reached = fraction; }};
  ComparisonResult result = compare(ctx_, plan_, models_, hooks);
  EXPECT_TRUE(result.stopped);
  EXPECT_EQ(of(result, "decoder 12").serving.figures.seconds, 0);
  EXPECT_FALSE(of(result, "decoder 12").first_token.empty());
}

}  // namespace
}  // namespace tandem::test
