// Prefixes that outlive their engine, and what a conversation's next turn has to read.
#include "infer/prefix_store.h"

#include <gtest/gtest.h>

#include "arch/model_check.h"
#include "base/file.h"
#include "base/temporary_folder.h"
#include "infer/engine.h"
#include "infer/generator.h"

namespace tandem::test {
namespace {

namespace fs = std::filesystem;

GenerationRequest request_of(const std::vector<int32_t>& ids, int64_t max_tokens) {
  GenerationRequest out;
  out.prompt = Prompt::continue_text(ids);
  out.options.max_tokens = max_tokens;
  return out;
}

class Restarts : public testing::TestWithParam<NamedConfig> {
 protected:
  const ModelConfig& config_ = GetParam().config;
  Context ctx_{1};
  std::unique_ptr<Model> model_ = random_model(config_, Precision::float32());
  TemporaryFolder folder_;

  EngineOptions options() {
    EngineOptions out;
    out.prefix_folder = folder_.path() / "prefixes";
    return out;
  }
  GenerationRequest request(uint64_t seed, int64_t tokens = 16) {
    return request_of(random_rows(config_, 1, tokens, seed).ids, 4);
  }
  std::vector<int32_t> alone(const GenerationRequest& request) {
    Generator generator(ctx_, *model_);
    return generator.run(request.prompt, request.options).ids;
  }
  void expect_right(const GenerationResult& result, const GenerationRequest& request) {
    EXPECT_EQ(result.error, "");
    EXPECT_EQ(result.completions.front().ids, alone(request));
  }
  void serve(const EngineOptions& options, std::initializer_list<uint64_t> seeds) {
    Engine engine(ctx_, *model_, options);
    for (uint64_t seed : seeds) expect_right(engine.wait(engine.submit(request(seed))), request(seed));
  }
  // How many tokens of the prompt of `seed` a new engine finds in the folder.
  int64_t found(const EngineOptions& options, uint64_t seed) {
    Engine engine(ctx_, *model_, options);
    GenerationResult result = engine.wait(engine.submit(request(seed)));
    expect_right(result, request(seed));
    EXPECT_EQ(engine.statistics().reused_tokens, result.reused_tokens);
    EXPECT_EQ(engine.statistics().read_tokens, 15 - result.reused_tokens);
    EXPECT_EQ(engine.statistics().prefix_hits, result.reused_tokens > 0 ? 1 : 0);
    EXPECT_EQ(engine.statistics().loaded_prefixes, result.reused_tokens > 0 ? 1 : 0);
    return result.reused_tokens;
  }
  std::vector<fs::path> files() {
    std::vector<fs::path> out;
    for (const auto& entry : fs::directory_iterator(folder_.path() / "prefixes")) out.push_back(entry.path());
    std::sort(out.begin(), out.end());
    return out;
  }
};

TEST_P(Restarts, WhatWasReadBeforeIsNotReadAgain) {
  for (EncoderState policy : {EncoderState::keep, EncoderState::recompute, EncoderState::spill}) {
    for (bool outputs : {false, true}) {
      EngineOptions with = options();
      with.cache = {.encoder = policy, .keep_outputs = outputs, .spill_folder = folder_.path() / "spilled"};
      with.prefix_folder = folder_.path() / fmt::format("{} {}", static_cast<int>(policy), outputs);
      serve(with, {1, 2});
      EXPECT_EQ(found(with, 1), 15);
      EXPECT_EQ(found(with, 2), 15);
      fs::path spilled = folder_.path() / "spilled";
      EXPECT_TRUE(!fs::exists(spilled) || fs::is_empty(spilled));
      // A longer prompt, and one that goes another way.
      if (!model_->reads_in_pieces()) continue;
      Engine engine(ctx_, *model_, with);
      GenerationRequest longer = request(1), other = request(2);
      longer.prompt.read.push_back(7);
      other.prompt.read.resize(9);
      other.prompt.read.push_back(8);
      GenerationResult more = engine.wait(engine.submit(longer)), branch = engine.wait(engine.submit(other));
      EXPECT_EQ(more.reused_tokens, 15);
      EXPECT_EQ(branch.reused_tokens, 9);
      expect_right(more, longer);
      expect_right(branch, other);
    }
  }
}

TEST_P(Restarts, AtRestFilesAreSmaller) {
  EngineOptions live = options(), resting = options();
  resting.cache.keep_outputs = true;
  resting.prefix_folder = folder_.path() / "resting";
  serve(live, {1});
  serve(resting, {1});
  auto bytes = [&](const EngineOptions& each) { return PrefixStore(*model_, each.prefix_folder, 1 << 30).bytes(); };
  if (has_one_side(config_)) {
    EXPECT_EQ(bytes(resting), bytes(live));
  } else {
    EXPECT_LT(bytes(resting), bytes(live));
  }
}

TEST_P(Restarts, AnotherModelsFolderIsLeftAlone) {
  serve(options(), {1});
  std::vector<fs::path> before = files();
  auto other = random_model(config_, Precision::float32());
  other->parameters().all().front().master().as<float>()[5] += 1;
  {
    Engine engine(ctx_, *other, options());
    EXPECT_EQ(engine.wait(engine.submit(request(1))).reused_tokens, 0);
    EXPECT_EQ(engine.wait(engine.submit(request(1))).reused_tokens, 15) << "in memory it works as ever";
  }
  EXPECT_EQ(files(), before);
  EXPECT_EQ(found(options(), 1), 15);
}

TEST_P(Restarts, DamagedFilesAreReadAnew) {
  serve(options(), {1});
  ASSERT_EQ(files().size(), 1u);
  std::string whole = read_file(files().front());
  for (size_t kept : {size_t{0}, size_t{20}, size_t{60}, whole.size() - 1}) {
    for (const fs::path& each : files()) fs::remove(each);
    put_file(folder_.path() / "prefixes" / "000000000001-x.prefix", std::string_view(whole).substr(0, kept));
    EXPECT_EQ(found(options(), 1), 0) << "cut at " << kept;
  }
  std::string changed = whole;
  changed[changed.size() - 9] = static_cast<char>(changed[changed.size() - 9] ^ 1);
  for (const fs::path& each : files()) fs::remove(each);
  put_file(folder_.path() / "prefixes" / "000000000001-x.prefix", changed);
  EXPECT_EQ(found(options(), 1), 0);
  EXPECT_EQ(found(options(), 1), 15) << "and saved anew";
}

TEST_P(Restarts, WhatAKilledProcessLeftIsRemoved) {
  serve(options(), {1});
  put_file(folder_.path() / "prefixes" / "000000000009-x.prefix.part-999999999", "x");  // no system has so large an id
  EXPECT_EQ(found(options(), 1), 15);
  EXPECT_EQ(files().size(), 1u);
}

TEST_P(Restarts, TheFolderKeepsToItsLimit) {
  EngineOptions with = options();
  serve(with, {1});
  with.prefix_bytes = 3 * PrefixStore(*model_, with.prefix_folder, 1 << 30).bytes() + 100;
  serve(with, {2, 3});
  EXPECT_EQ(files().size(), 3u);
  EXPECT_EQ(found(with, 1), 15);  // which makes it the one that was used last
  serve(with, {4, 5});
  EXPECT_EQ(files().size(), 3u);
  EXPECT_EQ(found(with, 1), 15);
  EXPECT_EQ(found(with, 3), 0);
  with.prefix_bytes = 10;
  serve(with, {6});
  EXPECT_TRUE(files().empty());
}

TEST_P(Restarts, CachesThatAreTooSmallReadAnew) {
  serve(options(), {1});
  EngineOptions tight = options();
  {
    Engine probe(ctx_, *model_, {});
    probe.wait(probe.submit(request(1)));
    probe.forget_prefixes();
    Engine::Ticket ticket = probe.submit(request(1));
    int64_t most = 0;
    while (probe.step()) most = std::max(most, probe.caches().bytes_in_use());
    probe.take(ticket);
    tight.cache.bytes = most;
  }
  Engine engine(ctx_, *model_, tight);
  expect_right(engine.wait(engine.submit(request(1))), request(1));
  expect_right(engine.wait(engine.submit(request(2))), request(2));
  EXPECT_LE(engine.caches().bytes_in_use(), tight.cache.bytes);
}

INSTANTIATE_TEST_SUITE_P(Small, Restarts, testing::ValuesIn(small_configs()),
                         [](const auto& test) { return test.param.name; });

TEST(PrefixStore, AShorterPrefixIsNotKeptBesideTheLonger) {
  ModelConfig config = small_config(Arch::double_decoder);
  Context ctx(1);
  auto model = random_model(config, Precision::float32());
  TemporaryFolder folder;
  std::vector<int32_t> ids = random_rows(config, 1, 18, 1).ids;
  for (size_t tokens : {size_t{6}, size_t{12}, size_t{18}}) {
    Engine engine(ctx, *model, {.prefix_folder = folder.path()});
    engine.wait(engine.submit(request_of({ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(tokens)}, 2)));
    engine.save_prefixes();
    engine.save_prefixes();
    PrefixStore store(*model, folder.path(), 1 << 20);
    EXPECT_EQ(store.prefixes(), 1);
  }
}

// A conversation: what the model has answered is written, and for the next turn the encoder reads that block and the
// new turn; the prompt before it is there. What of it the policy has dropped is counted.
class Conversations : public testing::TestWithParam<std::tuple<EncoderState, bool>> {};

TEST_P(Conversations, TheNextTurnReadsTheAnswerAndTheNewTurn) {
  auto [policy, outputs] = GetParam();
  for (Arch arch : {Arch::double_decoder, Arch::decoder}) {
    ModelConfig config = small_config(arch);
    config.max_seq_len = 150;
    Context ctx(1);
    auto model = random_model(config, Precision::float32());
    TemporaryFolder folder;
    EngineOptions options;
    options.cache = {.encoder = policy, .keep_outputs = outputs, .spill_folder = folder.path()};
    Engine engine(ctx, *model, options);
    Generator alone(ctx, *model);
    const int32_t role = 3;
    std::vector<int32_t> history = random_rows(config, 1, 70, 1).ids;
    int64_t known = 0;
    for (uint64_t turn = 1; turn <= 3; ++turn) {
      GenerationRequest asked;
      asked.prompt = Prompt::answer(history, role);
      asked.options.max_tokens = 6;
      CacheCounts before = engine.caches().counts();
      EngineStatistics statistics = engine.statistics();
      GenerationResult result = engine.wait(engine.submit(asked));
      EXPECT_EQ(result.completions.front().ids, alone.run(asked.prompt, asked.options).ids);

      auto prompt = static_cast<int64_t>(history.size());
      EXPECT_EQ(result.reused_tokens, known);
      EXPECT_EQ(engine.statistics().read_tokens - statistics.read_tokens, prompt - known);
      CacheCounts counts = engine.caches().counts();
      bool encodes = arch == Arch::double_decoder, spills = policy == EncoderState::spill;
      bool drops = encodes && (policy != EncoderState::keep || outputs);
      EXPECT_EQ(counts.recomputed - before.recomputed, drops && !spills ? known : 0);
      EXPECT_EQ(counts.restored - before.restored, drops && spills ? known : 0);
      EXPECT_EQ(counts.woken - before.woken, encodes && outputs ? known : 0);

      // The next turn: the role token, the answer, five tokens that are new. A decoder-only model has read the answer
      // as it wrote it, but for the last token, which nobody fed.
      std::vector<int32_t> answer = result.completions.front().ids, next = random_rows(config, 1, 5, 10 + turn).ids;
      history.push_back(role);
      history.insert(history.end(), answer.begin(), answer.end());
      known = encodes ? prompt : static_cast<int64_t>(history.size()) - 1;
      history.insert(history.end(), next.begin(), next.end());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Policies, Conversations,
                         testing::Combine(testing::Values(EncoderState::keep, EncoderState::recompute,
                                                          EncoderState::spill),
                                          testing::Bool()));

}  // namespace
}  // namespace tandem::test
