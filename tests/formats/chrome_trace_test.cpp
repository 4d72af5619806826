#include "formats/chrome_trace.h"

#include <gtest/gtest.h>

#include "base/json.h"

namespace tandem {
namespace {

TEST(ChromeTrace, EventsBeginWithTheFirst) {
  std::vector<ProfileEvent> events{
      {"matmul", 10.5, 0.25, 1e9, 0}, {"add", 10.25, 0.125, 0, 1e9}, {"empty", 11, 0, 1, 1}};
  Json json = Json::parse(chrome_trace(events, "a step"));
  const Json& list = json["traceEvents"];
  ASSERT_EQ(list.size(), 4u);
  EXPECT_EQ(list[0]["args"]["name"], "a step");
  EXPECT_EQ(list[1]["name"], "matmul");
  EXPECT_EQ(list[1]["ph"], "X");
  EXPECT_EQ(list[1]["ts"], 250000.0);
  EXPECT_EQ(list[1]["dur"], 250000.0);
  EXPECT_EQ(list[1]["args"]["GFLOP/s"], 4.0);
  EXPECT_FALSE(list[1]["args"].contains("GB/s"));
  EXPECT_EQ(list[2]["ts"], 0.0);
  EXPECT_EQ(list[2]["args"]["GB/s"], 8.0);
  EXPECT_TRUE(list[3]["args"].empty());
}

TEST(ChromeTrace, NothingHappened) { EXPECT_EQ(Json::parse(chrome_trace({}, "x"))["traceEvents"].size(), 1u); }

}  // namespace
}  // namespace tandem
