#include "formats/heat_map.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"

namespace tandem {
namespace {

HeatMap small_map() {
  return {.title = "Found",
          .x_label = "tokens",
          .y_label = "depth",
          .columns = {"128", "256", "512"},
          .rows = {"0 %", "100 %"},
          .values = {{0, 0.25, 1}, {0.5, NAN, 0.875}}};
}

size_t count(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

TEST(HeatMap, EveryCellHasItsNumberAndColour) {
  std::string svg = heat_map_svg(small_map());
  EXPECT_TRUE(svg.starts_with("<svg "));
  EXPECT_TRUE(svg.ends_with("</svg>\n"));
  EXPECT_EQ(count(svg, "<rect "), 7u) << "six cells and the page";
  for (const char* number : {">0<", ">25<", ">100<", ">50<", ">88<", ">-<"})
    EXPECT_EQ(count(svg, number), 1u) << number;
  for (const char* label : {">Found<", ">tokens<", ">depth<", ">128<", ">256<", ">512<", ">0 %<", ">100 %<"}) {
    EXPECT_EQ(count(svg, label), 1u) << label;
  }
  // The ends of the scale, and the darker the more.
  EXPECT_EQ(count(svg, "fill=\"#f7fbff\""), 1u);
  EXPECT_EQ(count(svg, "fill=\"#08306b\""), 1u);
}

TEST(HeatMap, ValuesBeyondTheScaleAndTextsOfAnyKindDraw) {
  HeatMap map = small_map();
  map.values[0] = {-3, 7, INFINITY};
  map.title = std::string(3000, 'x') + "<&>\xff";
  map.rows[0] = "<script>";
  std::string svg = heat_map_svg(map);
  EXPECT_EQ(svg.find("<script>"), std::string::npos);
  EXPECT_LT(svg.size(), 10'000u);
  EXPECT_FALSE(heat_map_svg({}).empty());
}

TEST(HeatMap, RefusesAGridWithHoles) {
  HeatMap map = small_map();
  map.values[1].pop_back();
  EXPECT_THROW(heat_map_svg(map), LogicError);
  map = small_map();
  map.rows.push_back("more");
  EXPECT_THROW(heat_map_svg(map), LogicError);
}

}  // namespace
}  // namespace tandem
