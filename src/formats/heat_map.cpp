#include "formats/heat_map.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

#include "base/error.h"
#include "formats/clean_text.h"
#include "formats/html.h"

namespace tandem {
namespace {

constexpr double kMargin = 24;
constexpr double kTop = 84;     // above the cells: title and label of the rows
constexpr double kBottom = 62;  // below them: labels of the columns
constexpr double kCellWidth = 76;
constexpr double kCellHeight = 38;
constexpr double kCharacter = 7.4;  // width of a label's character, about
constexpr size_t kLongestLabel = 24;

constexpr std::string_view kInk = "#21242a", kQuiet = "#666b73", kMissing = "#e6e7ea";

// From nearly white to the dark end of a blue scale; lightness falls evenly, so that it reads without colour as well.
constexpr std::array<std::array<double, 3>, 4> kScale{{{247, 251, 255}, {158, 202, 225}, {49, 130, 189}, {8, 48, 107}}};

std::string colour_of(double value) {
  double at = std::clamp(value, 0.0, 1.0) * (kScale.size() - 1);
  size_t low = std::min(static_cast<size_t>(at), kScale.size() - 2);
  double part = at - static_cast<double>(low);
  std::array<int, 3> rgb{};
  for (size_t i = 0; i < 3; ++i) {
    rgb[i] = static_cast<int>(std::lround(kScale[low][i] + part * (kScale[low + 1][i] - kScale[low][i])));
  }
  return fmt::format("#{:02x}{:02x}{:02x}", rgb[0], rgb[1], rgb[2]);
}

std::string text(double x, double y, std::string_view anchor, std::string_view colour, std::string_view words,
                 std::string_view more = "") {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\" fill=\"{}\"{}>{}</text>\n", x, y, anchor,
                     colour, more, html_escape(words));
}

std::string cell(double x, double y, double value) {
  bool known = std::isfinite(value);
  std::string fill = known ? colour_of(value) : std::string(kMissing);
  std::string out = fmt::format("<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" fill=\"{}\"/>\n", x,
                                y, kCellWidth - 2, kCellHeight - 2, fill);
  std::string_view ink = !known ? kQuiet : value > 0.5 ? std::string_view("#ffffff") : kInk;
  return out + text(x + kCellWidth / 2 - 1, y + kCellHeight / 2 + 4, "middle", ink,
                    known ? fmt::format("{:.0f}", 100 * value) : "-");
}

std::string label_of(const std::string& label) { return shorten(clean_text(label), kLongestLabel); }

void check(const HeatMap& map) {
  bool full = map.values.size() == map.rows.size() &&
              std::all_of(map.values.begin(), map.values.end(),
                          [&](const std::vector<double>& row) { return row.size() == map.columns.size(); });
  if (!full) throw LogicError({.what = "heat map whose values do not fill its grid"});
}

}  // namespace

std::string heat_map_svg(const HeatMap& map) {
  check(map);
  size_t longest = 0;
  for (const std::string& row : map.rows) longest = std::max(longest, label_of(row).size());
  double left = kMargin + kCharacter * static_cast<double>(longest) + 10;
  double grid = kCellWidth * static_cast<double>(map.columns.size());
  double bottom = kTop + kCellHeight * static_cast<double>(map.rows.size());
  std::string title = shorten(clean_text(map.title), 80);
  double width = std::max(left + grid + kMargin, 2 * kMargin + 10 * static_cast<double>(title.size()));
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0f}\" height=\"{1:.0f}\" viewBox=\"0 0 {0:.0f} {1:.0f}\" "
      "font-family=\"DejaVu Sans, sans-serif\" font-size=\"12.5\">\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n",
      width, bottom + kBottom);
  svg += text(kMargin, 36, "start", kInk, title, " font-size=\"17\" font-weight=\"bold\"");
  svg += text(kMargin, kTop - 16, "start", kQuiet, clean_text(map.y_label));
  for (size_t r = 0; r < map.rows.size(); ++r) {
    double y = kTop + kCellHeight * static_cast<double>(r);
    svg += text(left - 10, y + kCellHeight / 2 + 4, "end", kQuiet, label_of(map.rows[r]));
    for (size_t c = 0; c < map.columns.size(); ++c) {
      svg += cell(left + kCellWidth * static_cast<double>(c), y, map.values[r][c]);
    }
  }
  for (size_t c = 0; c < map.columns.size(); ++c) {
    svg += text(left + kCellWidth * (static_cast<double>(c) + 0.5) - 1, bottom + 18, "middle", kQuiet,
                label_of(map.columns[c]));
  }
  svg += text(left + grid / 2, bottom + 44, "middle", kQuiet, clean_text(map.x_label));
  return svg + "</svg>\n";
}

}  // namespace tandem
