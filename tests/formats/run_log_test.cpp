#include "formats/run_log.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "base/temporary_folder.h"

namespace tandem {
namespace {

using test::message_of;

TEST(RunLog, ReadsBothKindsOfLines) {
  RunLog log = parse_run_log(
      R"({"step":1,"tokens":512,"loss":7.5,"learning_rate":0.001,"grad_norm":2.5,"tokens_per_second":9000,"seconds":0.5}
{"step":2,"tokens":1024,"loss":7,"epoch":0}
{"step":2,"tokens":1024,"heldout_loss":7.25,"heldout_bits_per_byte":3.5,"heldout_accuracy":0.125}

{"event":"checkpoint","step":2}
)",
      "log.jsonl");
  ASSERT_EQ(log.training.size(), 2u);
  EXPECT_EQ(log.training[0].tokens, 512);
  EXPECT_EQ(log.training[0].loss, 7.5);
  EXPECT_EQ(log.training[0].learning_rate, 0.001);
  EXPECT_EQ(log.training[0].grad_norm, 2.5);
  EXPECT_EQ(log.training[0].tokens_per_second, 9000);
  EXPECT_EQ(log.training[0].seconds, 0.5);
  EXPECT_EQ(log.training[1].loss, 7);
  EXPECT_TRUE(std::isnan(log.training[1].grad_norm));
  ASSERT_EQ(log.heldout.size(), 1u);
  EXPECT_EQ(log.heldout[0].step, 2);
  EXPECT_EQ(log.heldout[0].loss, 7.25);
  EXPECT_EQ(log.heldout[0].bits_per_byte, 3.5);
  EXPECT_EQ(log.heldout[0].accuracy, 0.125);
  EXPECT_EQ(log.broken_end, "");
}

TEST(RunLog, TakesNullForNan) {
  RunLog log = parse_run_log(R"({"step":1,"tokens":1,"loss":null,"grad_norm":null})", "f");
  ASSERT_EQ(log.training.size(), 1u);
  EXPECT_TRUE(std::isnan(log.training[0].loss));
}

TEST(RunLog, LaterLinesReplaceThoseOfAStoppedRun) {
  std::string text;
  auto add = [&](int step, double loss) {
    text += fmt::format("{{\"step\":{},\"tokens\":{},\"loss\":{}}}\n", step, 10 * step, loss);
  };
  for (int step = 1; step <= 5; ++step) add(step, 1);
  text += R"({"step":4,"tokens":40,"heldout_loss":1})"
          "\n";
  for (int step = 3; step <= 4; ++step) add(step, 2);  // resumed from the checkpoint after step 2
  RunLog log = parse_run_log(text, "f");
  ASSERT_EQ(log.training.size(), 4u);
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(log.training[static_cast<size_t>(i)].step, i + 1);
    EXPECT_EQ(log.training[static_cast<size_t>(i)].loss, i < 2 ? 1 : 2);
  }
}

TEST(RunLog, OnlyNotesABrokenEnd) {
  std::string good = "{\"step\":1,\"tokens\":1,\"loss\":1}\n";
  for (const char* end :
       {"{\"step\":2,\"tok", "{\"step\":2,\"tok\n", "{\"step\":2,\"tokens\":2,\"loss\":\"x\"}", "\x01\n\n"}) {
    RunLog log = parse_run_log(good + end, "log.jsonl");
    EXPECT_EQ(log.training.size(), 1u);
    EXPECT_NE(log.broken_end.find("log.jsonl:2"), std::string::npos) << log.broken_end;
  }
}

TEST(RunLog, RefusesABrokenLineBeforeTheEnd) {
  std::string good = "{\"step\":1,\"tokens\":1,\"loss\":1}\n";
  auto refusal = [&](const std::string& line) {
    return message_of<InputError>([&] { parse_run_log(good + line + "\n" + good, "log.jsonl"); });
  };
  EXPECT_TRUE(refusal("{\"step\":").starts_with("cannot parse JSON: log.jsonl:2"));
  EXPECT_EQ(refusal("[1]"), "not a line of a run's log: log.jsonl:2: expected a JSON object");
  EXPECT_EQ(refusal("{\"loss\":1,\"tokens\":1}"), "missing key in JSON: log.jsonl:2: expected 'step'");
  EXPECT_EQ(refusal("{\"loss\":1,\"tokens\":1.5,\"step\":2}"),
            "wrong type of 'tokens': log.jsonl:2: got 1.5, expected an integer");
  EXPECT_EQ(refusal("{\"loss\":\"low\",\"tokens\":1,\"step\":2}"),
            "wrong type of 'loss': log.jsonl:2: got \"low\", expected a number");
}

TEST(RunLog, NamesAMissingFile) {
  test::TemporaryFolder folder;
  EXPECT_THROW(read_run_log(folder / "log.jsonl"), InputError);
  test::put_file(folder / "log.jsonl", "");
  EXPECT_TRUE(read_run_log(folder / "log.jsonl").training.empty());
}

}  // namespace
}  // namespace tandem
