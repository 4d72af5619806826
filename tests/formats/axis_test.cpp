#include "formats/axis.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/rng.h"

namespace tandem {
namespace {

std::vector<std::string> labels(const Axis& axis) {
  std::vector<std::string> out;
  for (const Tick& tick : axis.ticks) {
    if (!tick.label.empty()) out.push_back(tick.label);
  }
  return out;
}

using Labels = std::vector<std::string>;

TEST(Axis, LinearTicksAreRound) {
  EXPECT_EQ(labels(make_axis(Scale::linear, 0, 10, 5)), (Labels{"0", "2", "4", "6", "8", "10"}));
  EXPECT_EQ(labels(make_axis(Scale::linear, 2.36, 3.1, 8)),
            (Labels{"2.4", "2.5", "2.6", "2.7", "2.8", "2.9", "3.0", "3.1"}));
  EXPECT_EQ(labels(make_axis(Scale::linear, 0, 2'457'600, 8)), (Labels{"0", "0.5M", "1.0M", "1.5M", "2.0M"}));
  EXPECT_EQ(labels(make_axis(Scale::linear, 0, 3e-4, 4)), (Labels{"0", "1e-4", "2e-4", "3e-4"}));
  EXPECT_EQ(labels(make_axis(Scale::linear, -1, 1, 4)), (Labels{"-1.0", "-0.5", "0", "0.5", "1.0"}));
}

TEST(Axis, LogarithmicTicksStandAtDecades) {
  EXPECT_EQ(labels(make_axis(Scale::logarithmic, 1e-4, 1e3, 8)),
            (Labels{"1e-4", "0.001", "0.01", "0.1", "1", "10", "100", "1000"}));
  EXPECT_EQ(labels(make_axis(Scale::logarithmic, 0.5, 12, 8)), (Labels{"0.5", "1", "2", "5", "10"}));
  EXPECT_EQ(labels(make_axis(Scale::logarithmic, 2, 3, 5)), (Labels{"2.0", "2.2", "2.4", "2.6", "2.8", "3.0"}))
      << "less than a decade: as on a linear axis";
  EXPECT_EQ(labels(make_axis(Scale::logarithmic, 1, 1e12, 4)), (Labels{"1", "1000", "1M", "1G", "1T"}));
}

TEST(Axis, PlacesValues) {
  Axis linear = make_axis(Scale::linear, 10, 20, 5);
  EXPECT_DOUBLE_EQ(linear.position(10), 0);
  EXPECT_DOUBLE_EQ(linear.position(12.5), 0.25);
  EXPECT_DOUBLE_EQ(linear.position(20), 1);
  Axis logarithmic = make_axis(Scale::logarithmic, 1, 100, 5);
  EXPECT_DOUBLE_EQ(logarithmic.position(10), 0.5);
}

TEST(Axis, WidensAnEmptyRange) {
  for (double value : {0.0, 3.0, -2.0, 1e-200, 1e20}) {
    Axis axis = make_axis(Scale::linear, value, value, 6);
    EXPECT_LT(axis.low, value);
    EXPECT_GT(axis.high, value);
    EXPECT_GE(labels(axis).size(), 3u);
  }
}

// Whatever the range, the ticks ascend within it, their number is bounded and their labels differ.
TEST(Axis, TicksOfRandomRanges) {
  Rng rng(1, 0);
  for (int i = 0; i < 20'000; ++i) {
    bool log = rng.below(2);
    double low = std::pow(10.0, 24 * rng.uniform() - 12) * (log || rng.below(2) ? 1 : -1);
    double range = std::fabs(low) * std::pow(10.0, 12 * rng.uniform() - 6);
    int wanted = 3 + static_cast<int>(rng.below(8));
    Axis axis = make_axis(log ? Scale::logarithmic : Scale::linear, low, low + range, wanted);
    Labels shown = labels(axis);
    ASSERT_GE(shown.size(), 1u) << low << " " << range << " " << wanted;
    ASSERT_LE(shown.size(), static_cast<size_t>(2 * wanted + 3)) << low << " " << range << " " << wanted;
    for (size_t k = 0; k < axis.ticks.size(); ++k) {
      double position = axis.position(axis.ticks[k].value);
      ASSERT_GE(position, -1e-6);
      ASSERT_LE(position, 1 + 1e-6);
      if (k > 0) {
        ASSERT_GT(axis.ticks[k].value, axis.ticks[k - 1].value);
      }
    }
    for (size_t k = 1; k < shown.size(); ++k) ASSERT_NE(shown[k], shown[k - 1]) << low << " " << range;
  }
}

TEST(ShortNumber, KeepsFourDigits) {
  EXPECT_EQ(short_number(0), "0");
  EXPECT_EQ(short_number(3.14159), "3.142");
  EXPECT_EQ(short_number(1234.5), "1234");
  EXPECT_EQ(short_number(20130), "20.13k");
  EXPECT_EQ(short_number(2'457'600), "2.458M");
  EXPECT_EQ(short_number(-1e9), "-1G");
  EXPECT_EQ(short_number(3e-4), "3e-4");
  EXPECT_EQ(short_number(0.05), "0.05");
  EXPECT_EQ(short_number(NAN), "-");
  EXPECT_EQ(short_number(INFINITY), "-");
}

}  // namespace
}  // namespace tandem
