#include "formats/bar_chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "formats/axis.h"
#include "formats/clean_text.h"
#include "formats/drawing.h"

namespace tandem {
namespace {

// In points.
constexpr double kWidth = 880;
constexpr double kMargin = 24;
constexpr double kTop = 84;     // above the first group: title and legend
constexpr double kBottom = 58;  // below the last one: numbers and label of the axis
constexpr double kBar = 9;
constexpr double kGap = 10;  // between groups
constexpr double kBeforeNote = 8;
constexpr size_t kLongestLabel = 32;

double group_height(const BarChart& chart) { return kBar * static_cast<double>(chart.series.size()) + kGap; }

double height_of(const BarChart& chart) {
  return kTop + group_height(chart) * static_cast<double>(chart.groups.size()) + kBottom;
}

std::string label_of(const std::string& text) { return shorten(clean_text(text), kLongestLabel); }

double longest(const BarGroup& group) {
  double most = 0;
  for (double value : group.values) {
    if (std::isfinite(value)) most = std::max(most, value);
  }
  return most;
}

const Colour& colour_of(size_t series) { return kPalette[series % kPalette.size()]; }

void draw_legend(Pen& pen, const BarChart& chart) {
  constexpr double kSwatch = 22, kBetween = 22, kBaseline = 65;
  double x = kMargin;
  pen.font(12.5);
  for (size_t i = 0; i < chart.series.size(); ++i) {
    std::string label = label_of(chart.series[i]);
    pen.colour(colour_of(i));
    pen.box(x, kBaseline - kBar, kSwatch, kBar);
    pen.colour(kInk);
    pen.text(x + kSwatch + 7, kBaseline, label);
    x += kSwatch + 7 + pen.text_width(label) + kBetween;
  }
}

void draw_axis(Pen& pen, const BarChart& chart, const Axis& axis, double left, double right) {
  double bottom = height_of(chart) - kBottom;
  pen.font(12);
  for (const Tick& tick : axis.ticks) {
    double x = left + axis.position(tick.value) * (right - left);
    pen.colour(kGrid);
    pen.line(x, kTop, x, bottom, 1);
    pen.colour(kQuiet);
    pen.text(x, bottom + 18, tick.label, Anchor::middle);
  }
  pen.font(12.5);
  pen.text((left + right) / 2, bottom + 40, clean_text(chart.x_label), Anchor::middle);
}

void draw_groups(Pen& pen, const BarChart& chart, const Axis& axis, double left, double right) {
  double top = kTop + kGap / 2;
  for (const BarGroup& group : chart.groups) {
    double middle = top + kBar * static_cast<double>(chart.series.size()) / 2 + 4.2;
    pen.colour(kInk);
    pen.text(left - 8, middle, label_of(group.label), Anchor::end);
    for (size_t i = 0; i < group.values.size(); ++i) {
      if (!std::isfinite(group.values[i]) || group.values[i] <= 0) continue;
      pen.colour(colour_of(i));
      pen.box(left, top + kBar * static_cast<double>(i), axis.position(group.values[i]) * (right - left), kBar - 1);
    }
    pen.colour(kQuiet);
    pen.text(left + axis.position(longest(group)) * (right - left) + kBeforeNote, middle, clean_text(group.note));
    top += group_height(chart);
  }
}

// Where the axis ends: all notes have room behind their bars.
double right_end(Pen& pen, const BarChart& chart, const Axis& axis, double left) {
  double width = kWidth - kMargin - left;
  for (const BarGroup& group : chart.groups) {
    double room = kWidth - kMargin - left - kBeforeNote - pen.text_width(clean_text(group.note));
    if (double at = axis.position(longest(group)); at > 0) width = std::min(width, std::max(room, kMargin) / at);
  }
  return left + width;
}

void draw(Pen& pen, const BarChart& chart) {
  pen.colour(kBackground);
  cairo_paint(pen.raw());
  pen.colour(kInk);
  pen.font(17, true);
  pen.text(kMargin, 36, shorten(clean_text(chart.title), 80));
  draw_legend(pen, chart);
  double most = 0, widest = 0;
  pen.font(12);
  for (const BarGroup& group : chart.groups) {
    most = std::max(most, longest(group));
    widest = std::max(widest, pen.text_width(label_of(group.label)));
  }
  if (most <= 0) {
    pen.colour(kQuiet);
    pen.text(kMargin, kTop + kGap, "no data");
    return;
  }
  Axis axis = make_axis(Scale::linear, 0, most, 8);
  double left = kMargin + widest + 8, right = right_end(pen, chart, axis, left);
  draw_axis(pen, chart, axis, left, right);
  pen.font(12);
  draw_groups(pen, chart, axis, left, right);
  pen.colour(kAxis);
  pen.line(left, kTop, left, height_of(chart) - kBottom, 1);
}

void check(const BarChart& chart) {
  for (const BarGroup& group : chart.groups) {
    if (group.values.size() == chart.series.size()) continue;
    throw LogicError({.what = "group of bars needs one value per series",
                      .where = group.label,
                      .got = fmt::format("{}", group.values.size()),
                      .expected = fmt::format("{}", chart.series.size())});
  }
}

}  // namespace

std::string bar_chart_svg(const BarChart& chart) {
  check(chart);
  return drawing_svg(kWidth, height_of(chart), [&](Pen& pen) { draw(pen, chart); });
}

std::string bar_chart_png(const BarChart& chart) {
  check(chart);
  return drawing_png(kWidth, height_of(chart), [&](Pen& pen) { draw(pen, chart); });
}

}  // namespace tandem
