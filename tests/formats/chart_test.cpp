#include "formats/chart.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "base/error.h"
#include "formats/picture.h"

namespace tandem {
namespace {

using test::kBlue;
using test::kGreen;
using test::kVermilion;
using test::kWhite;
using test::Picture;

LineChart falling_chart() {
  LineChart chart{.title = "Loss", .x_label = "tokens", .y_label = "nats"};
  Series series{.label = "a run"};
  for (int i = 0; i < 100; ++i) {
    series.x.push_back(i);
    series.y.push_back(5 - 0.03 * i);
  }
  chart.series.push_back(series);
  return chart;
}

TEST(Chart, PngShowsTheLineInItsColour) {
  LineChart chart = falling_chart();
  Picture one(chart_png(chart));
  EXPECT_EQ(one.width(), 1760);
  EXPECT_EQ(one.height(), 1000);
  EXPECT_EQ(one.pixel(0, 0), kWhite);
  EXPECT_GT(one.count(kBlue), 3000);
  EXPECT_EQ(one.count(kVermilion), 0);
  chart.series.push_back(chart.series[0]);
  chart.series[1].colour = 1;
  for (double& y : chart.series[1].y) y += 1;
  EXPECT_GT(Picture(chart_png(chart)).count(kVermilion), 3000);
}

// The line falls from the upper left to the lower right of the plot.
TEST(Chart, HighValuesAreUp) {
  Picture picture(chart_png(falling_chart()));
  auto highest_blue = [&](int x) {
    for (int y = 180; y < picture.height(); ++y) {  // below the legend
      if (picture.pixel(x, y) == kBlue) return y;
    }
    return -1;
  };
  int left = highest_blue(200), middle = highest_blue(900), right = highest_blue(1600);
  EXPECT_GT(left, 0);
  EXPECT_LT(left + 100, middle);
  EXPECT_LT(middle + 100, right);
}

TEST(Chart, LinesOnTopOfEachOtherAreAllSeen) {
  LineChart chart;
  for (int i = 0; i < 3; ++i) {
    chart.series.push_back({.label = "",
                            .x = {0, 1, 2},
                            .y = {1, 2, 3},
                            .colour = i,
                            .style = i == 2 ? LineStyle::markers : LineStyle::line});
  }
  constexpr std::array<uint32_t, 3> kColours{kBlue, kVermilion, kGreen};
  std::array<int, 3> alone, together;
  Picture all(chart_png(chart));
  for (size_t i = 0; i < 3; ++i) {
    LineChart one = chart;
    one.series = {chart.series[i]};
    alone[i] = Picture(chart_png(one)).count(kColours[i]);
    together[i] = all.count(kColours[i]);
    EXPECT_GT(together[i], alone[i] / 4) << i;
    EXPECT_LT(together[i], alone[i] / 2) << i;
  }
}

TEST(Chart, SvgHoldsTheSameDrawingEveryTime) {
  std::string svg = chart_svg(falling_chart());
  EXPECT_NE(svg.find("<svg"), std::string::npos);
  EXPECT_TRUE(svg.ends_with("</svg>\n"));
  EXPECT_TRUE(svg == chart_svg(falling_chart()));
  LineChart other = falling_chart();
  other.series[0].y[50] = 9;
  EXPECT_TRUE(svg != chart_svg(other));
}

// A spike between a million points stays, and the file stays small.
TEST(Chart, ThinningKeepsTheExtremes) {
  LineChart chart = falling_chart();
  Series& series = chart.series[0];
  series.x.clear();
  series.y.clear();
  for (int i = 0; i < 1'000'000; ++i) {
    series.x.push_back(i);
    series.y.push_back(std::sin(i * 0.7));
  }
  series.y[500'123] = 2;
  EXPECT_LT(chart_svg(chart).size(), 400'000u);
  Picture picture(chart_png(chart));
  auto highest_blue = [&](int x_begin, int x_end) {
    for (int y = 0; y < picture.height(); ++y) {
      for (int x = x_begin; x < x_end; ++x) {
        if (picture.pixel(x, y) == kBlue) return y;
      }
    }
    return picture.height();
  };
  EXPECT_LT(highest_blue(880, 960) + 100, highest_blue(400, 800));
}

TEST(Chart, GapsAndOddValuesDraw) {
  LineChart chart = falling_chart();
  Series& series = chart.series[0];
  series.y[10] = NAN;
  series.y[20] = INFINITY;
  series.y[30] = -INFINITY;
  series.y[40] = 1e300;
  series.x[50] = NAN;
  EXPECT_GT(Picture(chart_png(chart)).count(kBlue), 3000);
  for (Scale x : {Scale::linear, Scale::logarithmic}) {
    for (Scale y : {Scale::linear, Scale::logarithmic}) {
      chart.x_scale = x;
      chart.y_scale = y;
      series.y[60] = 0;
      series.y[61] = -3;
      EXPECT_GT(Picture(chart_png(chart)).count(kBlue), 1000);
    }
  }
}

TEST(Chart, LonePointsAndEmptyChartsDraw) {
  LineChart chart{.title = "x"};
  EXPECT_FALSE(chart_svg(chart).empty());
  chart.series.push_back({.label = "nothing", .x = {1, 2}, .y = {NAN, NAN}});
  EXPECT_FALSE(chart_svg(chart).empty());
  chart.series.push_back({.x = {7}, .y = {1}});
  EXPECT_GT(Picture(chart_png(chart)).count(kBlue), 50) << "a dot";
  for (double value : {0.0, -1.0, 1e-200, 1e99, -1e99}) {
    chart.series.back().y = {value};
    EXPECT_FALSE(chart_png(chart).empty());
  }
}

TEST(Chart, TextsOfAnyKindDraw) {
  LineChart chart = falling_chart();
  chart.title = std::string(5000, 'x') + "\xff\n\x01";
  chart.y_label = "\xed\xa0\x80";
  chart.series[0].label = "größe \U0001F600 <&> \xfe";
  for (int i = 0; i < 40; ++i) {
    chart.series.push_back(chart.series[0]);
    chart.series.back().colour = i;
  }
  EXPECT_FALSE(chart_svg(chart).empty());
  EXPECT_FALSE(chart_png(chart).empty());
}

TEST(Chart, RefusesUnequalColumns) {
  LineChart chart = falling_chart();
  chart.series[0].y.pop_back();
  EXPECT_THROW(chart_svg(chart), LogicError);
  EXPECT_THROW(chart_png(chart), LogicError);
}

}  // namespace
}  // namespace tandem
