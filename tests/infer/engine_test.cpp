#include "infer/engine.h"

#include <algorithm>

#include "base/error.h"
#include "infer/engine_check.h"
#include "infer/folding.h"

namespace tandem::test {
namespace {

class Engines : public EngineTest, public testing::WithParamInterface<NamedConfig> {
 protected:
  Engines() : EngineTest(GetParam().config) {}
};

TEST_P(Engines, ManyRequestsAtOnceGetWhatEachGetsAlone) {
  for (int64_t step_tokens : {1, 7, 512}) {
    Engine engine(ctx_, *model_, {.step_tokens = step_tokens, .most_sequences = 3});
    std::vector<GenerationRequest> requests;
    std::vector<Engine::Ticket> tickets;
    for (uint64_t i = 0; i < 8; ++i) {
      requests.push_back(request(i + 1, static_cast<int64_t>(1 + 3 * i % 14), static_cast<int64_t>(1 + i % 6), i % 2));
      tickets.push_back(engine.submit(requests.back()));
      if (i % 3 == 0) engine.step();
    }
    for (size_t i = 0; i < requests.size(); ++i) {
      GenerationResult result = engine.wait(tickets[i]);
      EXPECT_EQ(result.error, "");
      expect_same(result.completions.front(), alone(requests[i]));
    }
    EXPECT_FALSE(engine.step());
    EXPECT_FALSE(engine.take(tickets[0]).has_value()) << "a result is there once";
    engine.forget_prefixes();
    EXPECT_EQ(engine.caches().bytes_in_use(), 0);
  }
}

TEST_P(Engines, WhatWasReadBeforeIsNotReadAgain) {
  Engine engine(ctx_, *model_, {});
  GenerationRequest first = request(1, 16, 4), longer = first;
  engine.wait(engine.submit(first));
  longer.prompt.read.push_back(5);
  GenerationResult again = engine.wait(engine.submit(first)), more = engine.wait(engine.submit(longer));
  EXPECT_EQ(again.reused_tokens, 15);
  EXPECT_EQ(more.reused_tokens, 15);
  expect_same(again.completions.front(), alone(first));
  expect_same(more.completions.front(), alone(longer));
  EXPECT_EQ(engine.statistics().prefix_hits, 2);
  EXPECT_EQ(engine.statistics().reused_tokens, 30);
  if (!model_->reads_in_pieces()) return;  // which need the whole prompt
  GenerationRequest branch = first;
  branch.prompt.read.resize(9);
  branch.prompt.read.push_back(6);
  GenerationResult other = engine.wait(engine.submit(branch));
  EXPECT_EQ(other.reused_tokens, 9) << "in the middle of an earlier prompt";
  expect_same(other.completions.front(), alone(branch));
}

TEST_P(Engines, CompletionsShareTheirPromptAndNothingElse) {
  Engine engine(ctx_, *model_, {.most_sequences = 2});
  GenerationRequest asked = request(3, 9, 6, 1.0);
  asked.completions = 5;
  GenerationResult result = engine.wait(engine.submit(asked));
  ASSERT_EQ(result.completions.size(), 5u);
  EXPECT_EQ(engine.statistics().read_tokens, 8);
  for (int64_t c = 0; c < 5; ++c) {
    GenerationRequest one = asked;
    one.options.sampling.seed += static_cast<uint64_t>(c);
    expect_same(result.completions[static_cast<size_t>(c)], alone(one));
  }
}

TEST_P(Engines, CancelledRequestsLeaveAtTheNextStep) {
  Engine engine(ctx_, *model_, {.step_tokens = 1, .most_sequences = 2, .reuse_prefixes = false});
  auto flag = std::make_shared<std::atomic<bool>>(false);
  GenerationRequest running = request(1, 3, 12), waiting = request(2, 12, 8), kept = request(3, 5, 10);
  running.cancelled = waiting.cancelled = flag;
  Engine::Ticket a = engine.submit(running), c = engine.submit(kept), b = engine.submit(waiting);
  for (int i = 0; i < 4; ++i) engine.step();
  *flag = true;
  engine.step();
  GenerationResult stopped = *engine.take(a), never = *engine.take(b);
  EXPECT_EQ(stopped.completions.front().finish_reason, FinishReason::cancelled);
  EXPECT_LT(stopped.completions.front().ids.size(), 12u);
  EXPECT_EQ(never.completions.front().finish_reason, FinishReason::cancelled);
  expect_same(engine.wait(c).completions.front(), alone(kept));
  EXPECT_EQ(engine.caches().bytes_in_use(), 0);
}

TEST_P(Engines, FullCachesMakeRequestsWaitAndForgetPrefixes) {
  int64_t most = 0;
  {
    Engine probe(ctx_, *model_, {.reuse_prefixes = false});
    Engine::Ticket ticket = probe.submit(request(1, 10, 8));
    while (probe.step()) most = std::max(most, probe.caches().bytes_in_use());
    probe.take(ticket);
  }
  ASSERT_GT(most, 0);
  Engine engine(ctx_, *model_, {.cache = {.bytes = most + most / 2}});
  std::vector<GenerationRequest> requests;
  std::vector<Engine::Ticket> tickets;
  for (uint64_t i = 0; i < 6; ++i) {
    requests.push_back(request(i + 1, 10, 8));
    tickets.push_back(engine.submit(requests.back()));
  }
  for (size_t i = 0; i < requests.size(); ++i) {
    expect_same(engine.wait(tickets[i]).completions.front(), alone(requests[i]));
    EXPECT_LE(engine.caches().bytes_in_use(), engine.caches().limit());
  }
  EXPECT_GT(engine.statistics().evicted_prefixes, 0);
  Engine tiny(ctx_, *model_, {.cache = {.bytes = 0}});
  GenerationResult refused = tiny.wait(tiny.submit(request(1, 10, 8)));
  EXPECT_NE(refused.error, "");
  EXPECT_TRUE(refused.completions.front().ids.empty());
}

// A prompt and an answer that share pages: who has room for the prompts alone must not read them all at once.
TEST(EngineAdmission, WhatHasBegunCanBeFinished) {
  for (Arch arch : {Arch::decoder, Arch::double_decoder, Arch::encoder_decoder}) {
    ModelConfig config = small_config(arch);
    config.max_seq_len = 4 * kPageTokens;
    Context ctx(1);
    auto model = random_model(config, Precision::float32());
    GenerationRequest asked;
    asked.options.max_tokens = kPageTokens;
    int64_t alone = 0;
    for (int64_t limit : {int64_t{1} << 40, int64_t{0}}) {
      Engine engine(ctx, *model, {.cache = {.bytes = limit > 0 ? limit : 2 * alone}, .reuse_prefixes = false});
      std::vector<Engine::Ticket> tickets;
      for (uint64_t i = 0; i < (limit > 0 ? 1u : 5u); ++i) {
        asked.prompt = Prompt::continue_text(random_rows(config, 1, 2 * kPageTokens + 1, i).ids);
        tickets.push_back(engine.submit(asked));
      }
      while (engine.step()) alone = std::max(alone, limit > 0 ? engine.caches().bytes_in_use() : 0);
      for (Engine::Ticket ticket : tickets) {
        GenerationResult result = *engine.take(ticket);
        EXPECT_EQ(result.error, "") << arch_name(arch);
        EXPECT_EQ(result.completions.front().ids.size(), static_cast<size_t>(kPageTokens));
      }
      EXPECT_EQ(engine.statistics().most_sequences, limit > 0 ? 1 : 2) << arch_name(arch);
      EXPECT_GT(engine.statistics().write_seconds, 0);
    }
  }
}

// A prompt of one pass is read into no more room than it is written from.
TEST(EngineAdmission, PromptsOfOnePassTakeNoRoomForTheEncoder) {
  ModelConfig config = small_config(Arch::double_decoder);
  config.max_seq_len = 4 * kPageTokens;
  Context ctx(1);
  auto model = random_model(config, Precision::float32());
  GenerationRequest asked;
  asked.options.max_tokens = kPageTokens;
  std::vector<std::vector<int32_t>> written;
  for (int64_t step_tokens : {int64_t{2} * kPageTokens, int64_t{kPageTokens}}) {
    EngineOptions options{.step_tokens = step_tokens, .reuse_prefixes = false};
    options.cache.encoder = EncoderState::recompute;
    int64_t room = 0;
    for (size_t together : {size_t{1}, size_t{3}}) {
      if (room > 0) options.cache.bytes = 3 * room;
      Engine engine(ctx, *model, options);
      std::vector<Engine::Ticket> tickets;
      for (uint64_t i = 0; i < together; ++i) {
        asked.prompt = Prompt::continue_text(random_rows(config, 1, 2 * kPageTokens + 1, i).ids);
        tickets.push_back(engine.submit(asked));
      }
      // What a sequence that writes takes.
      while (engine.step()) room = together == 1 ? engine.caches().bytes_in_use() : room;
      for (Engine::Ticket ticket : tickets) written.push_back(engine.take(ticket)->completions.front().ids);
      // Read in pieces, prompts hold the encoder's state until they are read, and fewer fit.
      if (together > 1) {
        EXPECT_EQ(engine.statistics().most_sequences == 3, step_tokens >= 2 * kPageTokens) << step_tokens;
      }
    }
  }
  ASSERT_EQ(written.size(), 8u);
  for (size_t i : {1, 4, 5}) EXPECT_EQ(written[i], written[0]) << i;
  for (size_t i : {2, 3}) EXPECT_EQ(written[i], written[i + 4]) << i;
}

TEST_P(Engines, BadRequestsAreRefusedByThemselves) {
  Engine engine(ctx_, *model_, {});
  GenerationRequest good = request(1, 5, 3), unknown = good, endless = good, none = good;
  unknown.prompt.read[0] = static_cast<int32_t>(config_.vocab_size);
  endless.prompt.read.assign(100, 4);
  none.completions = 0;
  Engine::Ticket ticket = engine.submit(good);
  EXPECT_THROW(engine.submit(unknown), InputError);
  EXPECT_THROW(engine.submit(endless), InputError);
  EXPECT_THROW(engine.submit(none), InputError);
  expect_same(engine.wait(ticket).completions.front(), alone(good));
}

// A prompt of many pieces is given up between two of them, and a step reads no more than its budget.
TEST_P(Engines, CancelledBetweenThePiecesOfAPrompt) {
  ModelConfig config = config_;
  config.max_seq_len = 600;
  auto model = random_model(config, Precision::float32());
  Engine engine(ctx_, *model, {.step_tokens = 64});
  auto flag = std::make_shared<std::atomic<bool>>(false);
  GenerationRequest asked;
  asked.prompt = Prompt::continue_text(random_rows(config, 1, 400, 1).ids);
  asked.options.max_tokens = 5;
  asked.cancelled = flag;
  Engine::Ticket ticket = engine.submit(asked);
  int64_t read = 0;
  for (int step = 0; step < 3 && model->reads_in_pieces(); ++step) {
    engine.step();
    EXPECT_LE(engine.statistics().read_tokens - read, 64);
    read = engine.statistics().read_tokens;
    EXPECT_FALSE(engine.take(ticket).has_value());
  }
  *flag = true;
  while (engine.step()) {
  }
  EXPECT_EQ(engine.statistics().read_tokens, read) << "nothing is read once the flag is set";
  GenerationResult result = *engine.take(ticket);
  EXPECT_EQ(result.completions.front().finish_reason, FinishReason::cancelled);
  EXPECT_EQ(engine.caches().bytes_in_use(), 0);
}

// The flag of one request is set while another one's token is chosen: its next piece is not read any more.
TEST_P(Engines, CancelledBetweenThePassesOfAStep) {
  Engine engine(ctx_, *model_, {.step_tokens = 1, .reuse_prefixes = false});
  auto flag = std::make_shared<std::atomic<bool>>(false);
  GenerationRequest writer = request(1, 3, 5), reader = request(2, 12, 5);
  writer.on_token = [&](int64_t, int32_t) {
    *flag = true;
    return Next::go_on;
  };
  reader.cancelled = flag;
  Engine::Ticket first = engine.submit(writer);
  engine.step();
  int64_t read = engine.statistics().read_tokens;
  Engine::Ticket second = engine.submit(reader);
  engine.step();
  EXPECT_EQ(engine.statistics().read_tokens, read);
  EXPECT_EQ(engine.wait(second).completions.front().finish_reason, FinishReason::cancelled);
  EXPECT_EQ(engine.wait(first).error, "");
}

TEST_P(Engines, ForcedTokensComeFirst) {
  GenerationRequest asked = request(5, 6, 8, 1);
  asked.options.sampling.forced = {9, 9, 4};
  asked.options.sampling.temperature = 0;
  Generation ours = alone(asked);
  ASSERT_EQ(ours.ids.size(), 8u);
  EXPECT_EQ(std::vector<int32_t>(ours.ids.begin(), ours.ids.begin() + 3), (std::vector<int32_t>{9, 9, 4}));
  // The rest is what follows a prompt that ends in them.
  GenerationRequest longer = request(5, 6, 5);
  std::vector<int32_t> ids = asked.prompt.ids();
  ids.insert(ids.end(), {9, 9, 4});
  longer.prompt = Prompt::continue_text(ids);
  Generation rest = alone(longer);
  if (config_.arch == Arch::decoder) {  // where blocks open elsewhere, the model sees another text
    EXPECT_EQ(std::vector<int32_t>(ours.ids.begin() + 3, ours.ids.end()), rest.ids);
  }
  Engine engine(ctx_, *model_, {});
  asked.options.sampling.banned = {9};
  EXPECT_THROW(engine.submit(asked), InputError);
  asked.options.sampling.banned = {};
  asked.options.sampling.forced = {static_cast<int32_t>(config_.vocab_size)};
  EXPECT_THROW(engine.submit(asked), InputError);
}

// One request's fold beside another's.
TEST_P(Engines, EveryRequestHasItsOwnFold) {
  Engine engine(ctx_, *model_, {.most_sequences = 3, .fold = 2});
  std::vector<GenerationRequest> all{request(1, 5, 10), request(1, 5, 10), request(1, 5, 10)};
  all[0].options.fold = kNeverFold;
  all[1].options.fold = 3;
  std::vector<Engine::Ticket> tickets;
  for (const GenerationRequest& each : all) tickets.push_back(engine.submit(each));
  all[2].options.fold = 2;  // the engine's
  for (size_t i = 0; i < all.size(); ++i) expect_same(engine.wait(tickets[i]).completions.front(), alone(all[i]));
  GenerationRequest bad = request(1, 5, 10);
  bad.options.fold = -7;
  EXPECT_THROW(engine.submit(bad), InputError);
}

// Requests of random lengths that come, go and are cancelled leave no page behind.
TEST_P(Engines, RandomLoadLeavesNoPageBehind) {
  Engine engine(ctx_, *model_, {.step_tokens = 64, .most_sequences = 5, .fold = 3});
  Rng rng(4, 0);
  std::vector<Engine::Ticket> tickets;
  std::vector<std::shared_ptr<std::atomic<bool>>> flags;
  for (int i = 0; i < 150; ++i) {
    GenerationRequest one = request(rng.below(20), 1 + rng.below(15), 1 + rng.below(8), 1);
    one.completions = 1 + rng.below(3);
    auto flag = std::make_shared<std::atomic<bool>>(false);
    flags.push_back(flag);
    one.cancelled = flag;
    tickets.push_back(engine.submit(one));
    if (rng.below(3) == 0) *flags[rng.below(static_cast<uint32_t>(flags.size()))] = true;
    for (uint32_t s = rng.below(4); s > 0; --s) engine.step();
  }
  for (Engine::Ticket ticket : tickets) EXPECT_EQ(engine.wait(ticket).error, "");
  engine.forget_prefixes();
  EXPECT_EQ(engine.caches().bytes_in_use(), 0);
}

INSTANTIATE_TEST_SUITE_P(Small, Engines, testing::ValuesIn(small_configs()),
                         [](const auto& test) { return test.param.name; });

// Folding gives the tokens of a model whose blocks are cut so: each by a full forward over everything before it.
TEST(EngineFold, TokensAreThoseOfFullForwardsOverBlocks) {
  ModelConfig config = small_config(Arch::double_decoder);
  Context ctx(1);
  auto model = random_model(config, Precision::float32());
  auto exact = random_model(config, Precision::reference());
  for (int64_t fold : {1, 4}) {
    for (EncoderState policy : {EncoderState::keep, EncoderState::recompute}) {
      Engine engine(ctx, *model, {.cache = {.encoder = policy}, .fold = fold});
      GenerationRequest asked;
      std::vector<int32_t> ids = random_rows(config, 1, 6, 4).ids;
      asked.prompt = Prompt::continue_text(ids);
      asked.options.max_tokens = 12;
      Generation ours = engine.wait(engine.submit(asked)).completions.front();
      std::vector<int32_t> boundaries;
      for (int64_t i = 0; i < 12; ++i) {
        if (i % fold == 0) boundaries.push_back(static_cast<int32_t>(5 + i));
        Batch batch = one_row(ids);
        batch.boundaries = boundaries;
        std::vector<double> logits = logits_of(*exact, batch, ctx).back();
        ids.push_back(static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin()));
      }
      EXPECT_EQ(ours.ids, std::vector<int32_t>(ids.begin() + 6, ids.end())) << "fold " << fold;
    }
  }
}

TEST(Folding, ByCostTakesTheCheapestLength) {
  FoldCosts costs{.written_bytes = 1000, .read_bytes = 1000, .read_flops = 1e6, .weight_bytes = 1e6};
  EXPECT_EQ(fold_by_cost(costs, 100000), kNeverFold);
  costs.written_bytes = 4000;
  EXPECT_EQ(fold_by_cost(costs, 64), kNeverFold) << "no token comes behind a block of a page";
  EXPECT_EQ(fold_by_cost(costs, 90), kNeverFold) << "reading costs more than what 26 tokens save";
  // Against all lengths: what n tokens cost in bytes of attention and of reading.
  auto cost = [&](int64_t block, int64_t tokens) {
    double bytes = 0;
    for (int64_t t = 0; t < tokens; ++t) {
      int64_t own = block > 0 ? t % block : t;
      bytes += 4000.0 * static_cast<double>(own) + 1000.0 * static_cast<double>(t - own);
      if (block > 0 && t > 0 && own == 0) bytes += 1e6 + static_cast<double>(block) * 1e6 / kFlopsPerByte;
    }
    return bytes;
  };
  for (int64_t tokens : {500, 1000, 3000, 10000}) {
    double best = cost(0, tokens);
    for (int64_t block = 64; block < tokens; block += 64) best = std::min(best, cost(block, tokens));
    int64_t chosen = fold_by_cost(costs, tokens);
    EXPECT_GT(chosen, 0);
    EXPECT_NEAR(cost(chosen, tokens), best, 1e-9 * best) << tokens;
  }
}

// It pays where a token takes less room once it was read, and nowhere else.
TEST(Folding, ByCostOnlyWhereTheCacheShrinks) {
  auto costs_of = [](Arch arch, MemoryKv memory_kv) {
    ModelConfig config = small_config(arch);
    config.memory_kv = memory_kv;
    return fold_costs(*random_model(config, Precision::float32()));
  };
  FoldCosts one = costs_of(Arch::double_decoder, MemoryKv::one_for_all);
  EXPECT_EQ(one.written_bytes, 2 * one.read_bytes) << "two decoder layers, one projection";
  EXPECT_GT(fold_by_cost(one, 10000), 0);
  EXPECT_EQ(fold_by_cost(costs_of(Arch::double_decoder, MemoryKv::per_layer_shared), 10000), kNeverFold);
  EXPECT_EQ(fold_by_cost(costs_of(Arch::decoder, MemoryKv::per_layer_shared), 10000), kNeverFold);
  EXPECT_EQ(fold_by_cost(costs_of(Arch::encoder_decoder, MemoryKv::per_layer_shared), 10000), kNeverFold);
}

TEST(Folding, LengthsOfBlocksAreReadFromText) {
  EXPECT_EQ(parse_fold("never", "test"), kNeverFold);
  EXPECT_EQ(parse_fold("auto", "test"), kFoldByCost);
  EXPECT_EQ(parse_fold("64", "test"), 64);
  for (const char* bad : {"", "0", "-1", "64x", "always"}) EXPECT_THROW(parse_fold(bad, "test"), InputError);
}

}  // namespace
}  // namespace tandem::test
