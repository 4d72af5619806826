#include "formats/bar_chart.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "formats/picture.h"

namespace tandem {
namespace {

using test::kBlue;
using test::kVermilion;
using test::kWhite;
using test::Picture;

BarChart two_groups() {
  return {.title = "A step",
          .x_label = "% of the step",
          .series = {"measured", "at its bound"},
          .groups = {{.label = "matmul", .values = {60, 50}, .note = "60 %"},
                     {.label = "gelu", .values = {6, 3}, .note = "6 %"}}};
}

// Pixels of a colour in each row, below the legend; rows without any left out.
std::vector<int> bar_lengths(const Picture& picture, uint32_t colour) {
  std::vector<int> lengths;
  for (int y = 2 * 84; y < picture.height(); ++y) {
    int n = 0;
    for (int x = 0; x < picture.width(); ++x) n += picture.pixel(x, y) == colour;
    if (n > 10) lengths.push_back(n);
  }
  return lengths;
}

TEST(BarChart, BarsAreAsLongAsTheirValues) {
  Picture picture(bar_chart_png(two_groups()));
  EXPECT_EQ(picture.pixel(0, 0), kWhite);
  std::vector<int> measured = bar_lengths(picture, kBlue), bound = bar_lengths(picture, kVermilion);
  ASSERT_FALSE(measured.empty());
  ASSERT_FALSE(bound.empty());
  EXPECT_GT(measured.front(), 800);
  // The first group stands above the second; half a pixel at each end.
  EXPECT_NEAR(measured.back(), measured.front() / 10.0, 2);
  EXPECT_NEAR(bound.front(), measured.front() * 5 / 6.0, 2);
  EXPECT_NEAR(bound.back(), measured.front() / 20.0, 2);
}

TEST(BarChart, PicturesGrowWithTheirGroups) {
  BarChart chart = two_groups();
  int two = Picture(bar_chart_png(chart)).height();
  chart.groups.push_back(chart.groups.front());
  EXPECT_GT(Picture(bar_chart_png(chart)).height(), two);
}

TEST(BarChart, LongNotesHaveTheirPlace) {
  BarChart chart = two_groups();
  chart.groups[0].note = "60.0 % of the step, 83 % of what the machine allows";
  chart.groups[1].note = chart.groups[0].note + ", and a little more than that";
  Picture picture(bar_chart_png(chart));
  for (int y = 0; y < picture.height(); ++y) {
    for (int x = picture.width() - 40; x < picture.width(); ++x)
      ASSERT_EQ(picture.pixel(x, y), kWhite) << x << " " << y;
  }
  std::vector<int> bars = bar_lengths(picture, kBlue);
  EXPECT_GT(bars.front(), 400);
  EXPECT_NEAR(bars.back(), bars.front() / 10.0, 2);
}

TEST(BarChart, WhatIsNotThereIsNotDrawn) {
  BarChart chart = two_groups();
  for (BarGroup& group : chart.groups) group.values[1] = NAN;
  EXPECT_TRUE(bar_lengths(Picture(bar_chart_png(chart)), kVermilion).empty());
  chart.groups.clear();
  EXPECT_TRUE(bar_lengths(Picture(bar_chart_png(chart)), kBlue).empty());
  for (double value : {0.0, -1.0, static_cast<double>(INFINITY)}) {
    chart.groups = {{.label = "odd \xff", .values = {value, value}, .note = ""}};
    EXPECT_TRUE(bar_lengths(Picture(bar_chart_png(chart)), kBlue).empty()) << value;
  }
}

TEST(BarChart, SvgHoldsTheSameDrawingEveryTime) {
  std::string svg = bar_chart_svg(two_groups());
  EXPECT_NE(svg.find("<svg"), std::string::npos);
  EXPECT_TRUE(svg == bar_chart_svg(two_groups()));
  BarChart other = two_groups();
  other.groups[0].values[0] = 61;
  EXPECT_TRUE(svg != bar_chart_svg(other));
}

TEST(BarChart, RefusesGroupsOfOtherSizes) {
  BarChart chart = two_groups();
  chart.groups[1].values.pop_back();
  EXPECT_THROW(bar_chart_svg(chart), LogicError);
}

}  // namespace
}  // namespace tandem
