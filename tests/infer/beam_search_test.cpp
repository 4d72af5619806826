// Beam search against all texts, against plain loops, and inside the engine.
#include "infer/beam_search.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "infer/engine_check.h"
#include "infer/grammar_reader.h"

namespace tandem::test {
namespace {

constexpr int32_t kEnd = 0;

// Log-probabilities of what follows a text; the same text has always the same.
std::vector<float> table(std::span<const int32_t> ids, size_t vocabulary, uint64_t seed) {
  uint64_t key = seed;
  for (int32_t id : ids) key = key * 31 + static_cast<uint64_t>(id) + 1;
  Rng rng(key, 0);
  std::vector<double> weights(vocabulary);
  double total = 0;
  for (double& w : weights) total += w = std::exp(1.5 * rng.normal());
  std::vector<float> out;
  for (double w : weights) out.push_back(static_cast<float>(std::log(w / total)));
  return out;
}

struct Text {
  std::vector<int32_t> ids;
  double score;
};

double score_of(double sum, size_t tokens, double length_penalty) {
  return sum / std::pow((5 + static_cast<double>(tokens)) / 6, length_penalty);
}

// Every text of at most `most` tokens that ends in EOS or is that long, the best first.
std::vector<Text> all_texts(size_t vocabulary, size_t most, uint64_t seed, double length_penalty) {
  std::vector<Text> found;
  std::vector<std::pair<std::vector<int32_t>, double>> open{{{}, 0.0}};
  while (!open.empty()) {
    auto [ids, sum] = open.back();
    open.pop_back();
    std::vector<float> scores = table(ids, vocabulary, seed);
    for (size_t v = 0; v < vocabulary; ++v) {
      std::vector<int32_t> longer = ids;
      longer.push_back(static_cast<int32_t>(v));
      double total = sum + static_cast<double>(scores[v]);
      if (v == kEnd || longer.size() == most) {
        found.push_back({longer, score_of(total, longer.size(), length_penalty)});
      } else {
        open.emplace_back(std::move(longer), total);
      }
    }
  }
  std::sort(found.begin(), found.end(), [](const Text& a, const Text& b) { return a.score > b.score; });
  return found;
}

std::vector<Generation> searched(const BeamOptions& options, size_t vocabulary, int64_t most, uint64_t seed,
                                 bool may_stop_early = true) {
  BeamSearch search(options, {kEnd}, most, FinishReason::length, may_stop_early);
  while (!search.done()) {
    for (int64_t beam = 0; beam < search.live(); ++beam) search.offer(table(search.ids(beam), vocabulary, seed));
    search.advance();
  }
  return search.take_best();
}

TEST(BeamSearch, WithRoomForEverythingFindsTheBestOfAllTexts) {
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    for (double length_penalty : {0.0, 1.0, 2.5, -0.7}) {
      std::vector<Text> expected = all_texts(4, 5, seed, length_penalty);
      BeamOptions options{.width = 1024, .length_penalty = length_penalty, .best = 50};
      std::vector<Generation> ours = searched(options, 4, 5, seed);
      ASSERT_EQ(ours.size(), 50u);
      for (size_t i = 0; i < ours.size(); ++i) {
        EXPECT_EQ(ours[i].ids, expected[i].ids) << "seed " << seed << ", text " << i;
        EXPECT_NEAR(ours[i].score, expected[i].score, 1e-12);
        EXPECT_EQ(ours[i].finish_reason, ours[i].ids.back() == kEnd ? FinishReason::eos : FinishReason::length);
      }
    }
  }
}

// The rules of the header as plain loops over whole lists.
std::vector<Text> plain_beams(const BeamOptions& options, size_t vocabulary, size_t most, uint64_t seed) {
  auto width = static_cast<size_t>(options.width);
  std::vector<std::pair<std::vector<int32_t>, double>> beams{{{}, 0.0}};
  std::vector<Text> finished;
  auto finish = [&](const std::vector<int32_t>& ids, double sum) {
    finished.push_back({ids, score_of(sum, ids.size(), options.length_penalty)});
    std::stable_sort(finished.begin(), finished.end(), [](const Text& a, const Text& b) { return a.score > b.score; });
    if (finished.size() > width) finished.resize(width);
  };
  for (size_t step = 1; step <= most; ++step) {
    std::vector<std::pair<std::vector<int32_t>, double>> longer, next;
    for (const auto& [ids, sum] : beams) {
      std::vector<float> scores = table(ids, vocabulary, seed);
      for (size_t v = 0; v < vocabulary; ++v) {
        longer.emplace_back(ids, sum + static_cast<double>(scores[v]));
        longer.back().first.push_back(static_cast<int32_t>(v));
      }
    }
    std::stable_sort(longer.begin(), longer.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
    for (size_t rank = 0; rank < std::min(longer.size(), 2 * width) && next.size() < width; ++rank) {
      if (longer[rank].first.back() != kEnd) {
        next.push_back(longer[rank]);
      } else if (rank < width) {
        finish(longer[rank].first, longer[rank].second);
      }
    }
    beams = next;
    if (step < most && options.early_stopping && finished.size() == width) {
      beams.clear();
      break;
    }
  }
  for (const auto& [ids, sum] : beams) finish(ids, sum);
  finished.resize(std::min(finished.size(), static_cast<size_t>(options.best)));
  return finished;
}

TEST(BeamSearch, IsWhatPlainLoopsFind) {
  int shorter = 0;
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    for (int64_t width : {1, 2, 3, 5}) {
      for (double length_penalty : {0.0, 0.6, 2.0, -0.5}) {
        for (bool early : {false, true}) {
          BeamOptions options{.width = width, .length_penalty = length_penalty, .early_stopping = early, .best = width};
          std::vector<Text> expected = plain_beams(options, 6, 9, seed);
          std::vector<Generation> ours = searched(options, 6, 9, seed),
                                  to_the_end = searched(options, 6, 9, seed, false);
          ASSERT_EQ(ours.size(), expected.size());
          for (size_t i = 0; i < ours.size(); ++i) {
            EXPECT_EQ(ours[i].ids, expected[i].ids) << "seed " << seed << ", width " << width << ", text " << i;
            EXPECT_NEAR(ours[i].score, expected[i].score, 1e-12);
            EXPECT_EQ(to_the_end[i].ids, ours[i].ids) << "what stops a search early changes nothing";
            shorter += ours[i].ids.size() < 9;
          }
        }
      }
    }
  }
  EXPECT_GT(shorter, 1000) << "texts should end in different places";
}

TEST(BeamSearch, TiesGoToTheEarlierBeamAndTheSmallerId) {
  BeamSearch search({.width = 3, .best = 3}, {9}, 2, FinishReason::context, true);
  std::vector<float> even(5, -1.0f);
  search.offer(even);
  auto first = search.advance();
  ASSERT_EQ(first.size(), 3u);
  for (int32_t i = 0; i < 3; ++i) EXPECT_EQ(first[static_cast<size_t>(i)].id, i);
  for (int i = 0; i < 3; ++i) search.offer(even);
  EXPECT_TRUE(search.advance().empty());
  std::vector<Generation> best = search.take_best();
  ASSERT_EQ(best.size(), 3u);
  for (int32_t i = 0; i < 3; ++i) EXPECT_EQ(best[static_cast<size_t>(i)].ids, (std::vector<int32_t>{0, i}));
  EXPECT_EQ(best.front().finish_reason, FinishReason::context);
}

class Beams : public EngineTest, public testing::WithParamInterface<NamedConfig> {
 protected:
  Beams() : EngineTest(GetParam().config) { pack(); }

  GenerationRequest beams(uint64_t seed, int64_t prompt_tokens, int64_t max_tokens, const BeamOptions& options) {
    GenerationRequest asked = request(seed, prompt_tokens, max_tokens);
    asked.options.beams = options;
    return asked;
  }
  GenerationResult searched_alone(const GenerationRequest& asked) {
    return Generator(ctx_, *model_, asked.options.beams.width + 1).run_all(asked.prompt, asked.options);
  }
  static void expect_same_texts(const GenerationResult& ours, const GenerationResult& expected) {
    ASSERT_EQ(ours.completions.size(), expected.completions.size());
    for (size_t i = 0; i < ours.completions.size(); ++i) {
      expect_same_bits(ours.completions[i], expected.completions[i]);
      EXPECT_EQ(ours.completions[i].score, expected.completions[i].score);
    }
  }
  // The model's log-probabilities behind a text: all of it written anew.
  std::vector<double> behind(const Prompt& prompt, const std::vector<int32_t>& ids) {
    Tape tape(ctx_, Precision::float32(), Tape::Mode::no_grad);
    auto state = model_->new_state(config_.max_seq_len);
    model_->prefill(tape, *state, prompt.read);
    std::vector<float> logits(static_cast<size_t>(config_.vocab_size));
    model_->decode(tape, *state, prompt.opening, logits);
    for (int32_t id : ids) {
      tape.reset();
      model_->decode(tape, *state, id, logits);
    }
    double total = 0;
    for (float logit : logits) total += std::exp(static_cast<double>(logit));
    std::vector<double> out;
    for (float logit : logits) out.push_back(static_cast<double>(logit) - std::log(total));
    return out;
  }
};

TEST_P(Beams, TextsAreThoseOfPlainLoopsOverTheModel) {
  for (double length_penalty : {0.0, 1.0}) {
    GenerationRequest asked = beams(3, 7, 5, {.width = 3, .length_penalty = length_penalty, .best = 3});
    asked.options.eos = {2, 5, 9};
    std::vector<std::pair<std::vector<int32_t>, double>> open{{{}, 0.0}};
    std::vector<Text> finished;
    auto is_eos = [&](int32_t id) { return id == 2 || id == 5 || id == 9; };
    auto finish = [&](const std::vector<int32_t>& ids, double sum) {
      finished.push_back({ids, score_of(sum, ids.size(), length_penalty)});
      std::stable_sort(finished.begin(), finished.end(),
                       [](const Text& a, const Text& b) { return a.score > b.score; });
      finished.resize(std::min<size_t>(finished.size(), 3));
    };
    for (size_t step = 1; step <= 5; ++step) {
      std::vector<std::pair<std::vector<int32_t>, double>> longer, next;
      for (const auto& [ids, sum] : open) {
        std::vector<double> scores = behind(asked.prompt, ids);
        for (size_t v = 0; v < scores.size(); ++v) {
          longer.emplace_back(ids, sum + scores[v]);
          longer.back().first.push_back(static_cast<int32_t>(v));
        }
      }
      std::stable_sort(longer.begin(), longer.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
      for (size_t rank = 0; rank < 12 && next.size() < 3; ++rank) {
        if (!is_eos(longer[rank].first.back())) {
          next.push_back(longer[rank]);
        } else if (rank < 3) {
          finish(longer[rank].first, longer[rank].second);
        }
      }
      open = next;
    }
    for (const auto& [ids, sum] : open) finish(ids, sum);
    GenerationResult ours = searched_alone(asked);
    EXPECT_EQ(ours.error, "");
    ASSERT_EQ(ours.completions.size(), 3u);
    for (size_t i = 0; i < 3; ++i) {
      const Generation& text = ours.completions[i];
      EXPECT_EQ(text.ids, finished[i].ids);
      EXPECT_NEAR(text.score, finished[i].score, 1e-4);
      double sum = 0;
      for (double each : text.log_probabilities) sum += each;
      EXPECT_NEAR(score_of(sum, text.ids.size(), length_penalty), text.score, 1e-4);
    }
  }
}

TEST_P(Beams, OneBeamIsGreedyDecoding) {
  GenerationRequest asked = beams(4, 6, 12, {.width = 1}), greedy = request(4, 6, 12);
  asked.options.sampling.repetition_penalty = greedy.options.sampling.repetition_penalty = 1.5;
  asked.options.sampling.banned = greedy.options.sampling.banned = {7};
  asked.options.sampling.forced = greedy.options.sampling.forced = {4, 8};
  asked.options.sampling.top_log_probabilities = greedy.options.sampling.top_log_probabilities = 2;
  // The penalty divides log-probabilities here and logits there, which is not the same step: only where they agree.
  asked.options.sampling.repetition_penalty = greedy.options.sampling.repetition_penalty = 1;
  GenerationResult ours = searched_alone(asked);
  expect_same_bits(ours.completions.front(), alone(greedy));
}

TEST_P(Beams, BesideOtherRequestsTheTextsAreTheSame) {
  Engine engine(ctx_, *model_, {.step_tokens = 16, .most_sequences = 6, .reuse_prefixes = false});
  std::vector<GenerationRequest> all;
  all.push_back(beams(1, 9, 20, {.width = 4, .length_penalty = 0.8, .best = 2}));
  all.push_back(request(2, 12, 30, 1));
  all.push_back(beams(3, 5, 15, {.width = 3, .early_stopping = true, .best = 3}));
  all.push_back(beams(4, 8, 1000, {.width = 2, .best = 2}));
  all.push_back(beams(5, 8, 30, {.width = 3, .best = 3}));
  all[0].options.eos = all[2].options.eos = {2, 4, 9, 12};
  all[3].options.fold = 5;
  all[4].options.sampling.forced = {6, 6};
  all[4].options.sampling.logit_bias = {{8, 1.5}};
  all[4].options.sampling.frequency_penalty = 0.5;
  std::vector<Engine::Ticket> tickets;
  for (const GenerationRequest& each : all) tickets.push_back(engine.submit(each));
  for (size_t i = 0; i < all.size(); ++i) {
    SCOPED_TRACE(i);
    GenerationResult ours = engine.wait(tickets[i]);
    EXPECT_EQ(ours.error, "");
    expect_same_texts(ours, searched_alone(all[i]));
  }
  EXPECT_EQ(engine.caches().bytes_in_use(), 0);
}

TEST_P(Beams, ConstraintsHoldForEveryText) {
  std::vector<std::string> bytes(static_cast<size_t>(config_.vocab_size));
  for (size_t id = 3; id < bytes.size(); ++id) bytes[id] = static_cast<char>('a' + id - 3);
  auto vocabulary = std::make_shared<ConstraintVocabulary>(bytes, bytes, std::vector<int32_t>{2});
  GenerationRequest asked = beams(1, 5, 20, {.width = 4, .best = 4});
  asked.options.eos = {2};
  asked.options.sampling.constraint =
      std::make_shared<Constraint>(read_grammar("root ::= \"ab\" [cd] \"e\"", "test"), vocabulary);
  GenerationResult ours = searched_alone(asked);
  // Only two texts are possible.
  ASSERT_EQ(ours.completions.size(), 2u);
  for (const Generation& text : ours.completions) {
    EXPECT_EQ(text.finish_reason, FinishReason::eos);
    ASSERT_EQ(text.ids.size(), 5u);
    EXPECT_TRUE(text.ids[2] == 5 || text.ids[2] == 6);
    EXPECT_EQ(text.ids.back(), 2);
  }
  EXPECT_GE(ours.completions[0].score, ours.completions[1].score);
}

TEST_P(Beams, EndWithTheModelsRowsByTheCallerOrCancelled) {
  GenerationRequest asked = beams(2, config_.max_seq_len - 6, 1000, {.width = 2, .best = 2});
  GenerationResult whole = searched_alone(asked);
  for (const Generation& text : whole.completions) {
    EXPECT_EQ(text.finish_reason, FinishReason::context);
    EXPECT_EQ(text.ids.size(), 6u);
  }
  size_t seen = 0;
  auto stop = [&](int32_t) { return ++seen == 3 ? Next::stop : Next::go_on; };
  GenerationResult cut = Generator(ctx_, *model_, 2).run_all(asked.prompt, asked.options, stop);
  EXPECT_EQ(cut.completions[0].finish_reason, FinishReason::stop);
  EXPECT_EQ(cut.completions[0].ids.size(), 3u);
  EXPECT_EQ(cut.completions[1].ids, whole.completions[1].ids);

  Engine engine(ctx_, *model_, {.reuse_prefixes = false});
  auto flag = std::make_shared<std::atomic<bool>>(false);
  asked.cancelled = flag;
  Engine::Ticket ticket = engine.submit(asked);
  for (int i = 0; i < 4; ++i) engine.step();
  EXPECT_FALSE(engine.take(ticket).has_value());
  *flag = true;
  engine.step();
  EXPECT_EQ(engine.take(ticket)->completions.front().finish_reason, FinishReason::cancelled);
  EXPECT_EQ(engine.caches().bytes_in_use(), 0);
}

TEST_P(Beams, WithoutRoomForAllOfThemTheyAreRefused) {
  int64_t one = 0;
  {
    Engine probe(ctx_, *model_, {.reuse_prefixes = false});
    probe.submit(request(1, 10, 20));
    while (probe.step()) one = std::max(one, probe.caches().bytes_in_use());
  }
  Engine engine(ctx_, *model_, {.cache = {.bytes = 2 * one}, .reuse_prefixes = false});
  Engine::Ticket wide = engine.submit(beams(1, 10, 20, {.width = 7}));
  Engine::Ticket narrow = engine.submit(beams(1, 10, 20, {.width = 2}));
  GenerationResult refused = engine.wait(wide);
  EXPECT_NE(refused.error, "");
  EXPECT_TRUE(refused.completions.front().ids.empty());
  expect_same_texts(engine.wait(narrow), searched_alone(beams(1, 10, 20, {.width = 2})));
  EXPECT_EQ(engine.caches().bytes_in_use(), 0);
}

TEST_P(Beams, BadOptionsAreRefused) {
  Engine engine(ctx_, *model_, {.most_sequences = 4});
  auto refused = [&](const BeamOptions& options, const std::function<void(GenerationRequest&)>& change = {}) {
    GenerationRequest asked = beams(1, 5, 5, options);
    if (change) change(asked);
    EXPECT_THROW(engine.submit(asked), InputError);
  };
  refused({.width = -1});
  refused({.width = 5});
  refused({.width = 2, .best = 3});
  refused({.width = 2, .best = 0});
  refused({.width = 2, .length_penalty = NAN});
  refused({.width = 2}, [](GenerationRequest& asked) { asked.options.sampling.temperature = 1; });
  refused({.width = 2}, [](GenerationRequest& asked) { asked.options.speculation.draft = 1; });
  refused({.width = 2}, [](GenerationRequest& asked) { asked.completions = 2; });
}

INSTANTIATE_TEST_SUITE_P(Small, Beams, testing::ValuesIn(longer_configs()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace tandem::test
