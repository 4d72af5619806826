// Requests of all kinds that come, go and are cancelled, under limits of all kinds: no page is left behind, and every
// one that is finished has the tokens that it gets alone.
#include <cstdlib>

#include "base/error.h"
#include "infer/engine_check.h"

namespace tandem::test {
namespace {

// TANDEM_RANDOM_REQUESTS: of all architectures together.
int64_t requests_in_all() {
  if (const char* given = std::getenv("TANDEM_RANDOM_REQUESTS")) return std::atoll(given);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return 400;
#else
  return 10000;
#endif
}

class RandomLoad : public EngineTest, public testing::WithParamInterface<NamedConfig> {
 protected:
  RandomLoad() : EngineTest(GetParam().config) { pack(); }

  struct Sent {
    GenerationRequest asked;
    Engine::Ticket ticket;
    std::shared_ptr<std::atomic<bool>> flag;
  };

  int64_t below(int64_t count) { return rng_.below(static_cast<uint32_t>(count)); }
  bool one_in(int64_t count) { return below(count) == 0; }

  std::vector<int32_t> some_ids(int64_t count) {
    std::vector<int32_t> ids;
    for (int64_t i = 0; i < count; ++i) ids.push_back(static_cast<int32_t>(3 + below(config_.vocab_size - 3)));
    return ids;
  }

  // Short prompts mostly; some of several pages; some go on from an earlier one.
  Prompt some_prompt() {
    int64_t longest = config_.max_seq_len - 2;
    std::vector<int32_t> ids;
    if (!earlier_.empty() && one_in(3)) {
      const std::vector<int32_t>& old = earlier_[static_cast<size_t>(below(static_cast<int64_t>(earlier_.size())))];
      ids.assign(old.begin(), old.begin() + 1 + below(static_cast<int64_t>(old.size())));
    }
    std::vector<int32_t> more = some_ids(1 + (one_in(20) ? below(140) : below(14)));
    ids.insert(ids.end(), more.begin(), more.end());
    if (static_cast<int64_t>(ids.size()) > longest) ids.resize(static_cast<size_t>(longest));
    if (earlier_.size() < 30) earlier_.push_back(ids);
    return Prompt::continue_text(ids);
  }

  GenerationRequest some_request() {
    GenerationRequest asked;
    asked.prompt = some_prompt();
    GenerationOptions& options = asked.options;
    options.max_tokens = 1 + below(one_in(10) ? 40 : 8);
    options.sampling.seed = static_cast<uint64_t>(below(1000));
    options.sampling.log_probabilities = one_in(4);
    if (one_in(2)) options.eos = some_ids(1 + below(4));
    if (one_in(3)) options.fold = one_in(8) ? kFoldByCost : below(6);
    if (one_in(8)) options.sampling.forced = some_ids(1 + below(3));
    if (one_in(8)) options.sampling.repetition_penalty = 1.3;
    if (one_in(6)) {
      options.beams = {.width = 1 + below(4), .length_penalty = 0.5 * static_cast<double>(below(3))};
      options.beams.early_stopping = one_in(2);
      options.beams.best = 1 + below(options.beams.width);
      return asked;
    }
    options.sampling.temperature = one_in(2) ? 0 : 0.7;
    if (one_in(3)) options.speculation.draft = 1 + below(6);
    if (one_in(4)) asked.completions = 1 + below(4);
    return asked;
  }

  // An engine of its own for everything, which never has to share.
  void check_alone(const Sent& sent, const GenerationResult& ours) {
    for (size_t c = 0; c < ours.completions.size(); ++c) {
      GenerationOptions options = sent.asked.options;
      bool beams = options.beams.width > 0;
      options.speculation.draft = 0;
      if (!beams) options.sampling.seed += c;
      if (beams && c > 0) break;
      GenerationResult expected = lonely_.run_all(sent.asked.prompt, options);
      if (ours.completions[c].finish_reason == FinishReason::cancelled) continue;
      EXPECT_EQ(ours.completions[c].ids, expected.completions.front().ids);
      EXPECT_EQ(ours.completions[c].finish_reason, expected.completions.front().finish_reason);
      for (size_t b = 1; beams && b < ours.completions.size(); ++b) {
        EXPECT_EQ(ours.completions[b].ids, expected.completions[b].ids);
      }
      ++checked_;
    }
  }

  // One engine with limits of its own; returns the number of requests.
  int64_t run_engine(int64_t most) {
    EngineOptions options;
    options.step_tokens = 1 + below(100);
    options.most_sequences = 4 + below(6);
    options.reuse_prefixes = !one_in(4);
    options.fold = one_in(2) ? kNeverFold : below(9);
    options.cache.encoder = one_in(2) ? EncoderState::keep : EncoderState::recompute;
    if (one_in(2)) options.cache.bytes = page_bytes() * (1 + below(20));
    Engine engine(ctx_, *model_, options);
    std::vector<Sent> sent;
    for (int64_t i = 0; i < most; ++i) {
      Sent one{some_request(), 0, std::make_shared<std::atomic<bool>>(false)};
      // What it gets alone has to have its fold as well.
      one.asked.options.fold = one.asked.options.fold.value_or(options.fold);
      one.asked.cancelled = one.flag;
      one.ticket = engine.submit(one.asked);
      sent.push_back(std::move(one));
      if (one_in(8)) *sent[static_cast<size_t>(below(static_cast<int64_t>(sent.size())))].flag = true;
      for (int64_t s = below(4); s > 0; --s) engine.step();
    }
    for (const Sent& each : sent) {
      GenerationResult result = engine.wait(each.ticket);
      if (!result.error.empty()) {
        // There is no other reason than memory.
        EXPECT_NE(result.error.find("the caches have no room"), std::string::npos) << result.error;
        EXPECT_LT(options.cache.bytes, int64_t{1} << 40);
        ++refused_;
        continue;
      }
      check_alone(each, result);
    }
    EXPECT_LE(engine.caches().bytes_in_use(), engine.caches().limit());
    engine.forget_prefixes();
    EXPECT_EQ(engine.caches().bytes_in_use(), 0);
    return most;
  }

  // Of one sequence of a page.
  int64_t page_bytes() {
    auto caches = model_->new_caches({});
    auto state = model_->new_state(*caches);
    state->reserve_read(1);
    state->reserve_write(1);
    return caches->bytes_in_use();
  }

  Rng rng_{29, 0};
  std::vector<std::vector<int32_t>> earlier_;
  Generator lonely_{ctx_, *model_, 5};
  int64_t checked_ = 0, refused_ = 0;
};

TEST_P(RandomLoad, LeavesNoPageBehindAndNoTokenChanged) {
  auto kinds = static_cast<int64_t>(longer_configs().size());
  int64_t most = (requests_in_all() + kinds - 1) / kinds;
  for (int64_t done = 0; done < most;) done += run_engine(std::min<int64_t>(40, most - done));
  EXPECT_GT(checked_, most / 2);
  EXPECT_TRUE(refused_ > 0 || most < 400) << "no memory limit was ever met";
}

INSTANTIATE_TEST_SUITE_P(Small, RandomLoad, testing::ValuesIn(longer_configs()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace tandem::test
