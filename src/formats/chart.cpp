#include "formats/chart.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>

#include "base/error.h"
#include "formats/clean_text.h"
#include "formats/drawing.h"

namespace tandem {
namespace {

// In points (drawing.h).
constexpr double kWidth = 880;
constexpr double kHeight = 500;
constexpr double kMargin = 24;
constexpr double kTickLength = 5;
constexpr size_t kLongestLabel = 48;  // characters in the legend

static_assert(kPalette.size() == kPaletteSize);

struct Rectangle {
  double left = 0, top = 0, right = 0, bottom = 0;
  double width() const { return right - left; }
  double height() const { return bottom - top; }
};

struct Point {
  double x = 0, y = 0;
};

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  void add(double v) {
    low = std::min(low, v);
    high = std::max(high, v);
  }
  bool empty() const { return low > high; }
};

// Beyond 1e100 (and below 1e-100 on a logarithmic axis) the arithmetic of axes would leave the range of double.
bool drawable(double value, Scale scale) {
  return std::fabs(value) < 1e100 && (scale == Scale::linear || value > 1e-100);
}

struct Frame {
  Axis x;
  Axis y;
  Rectangle plot;
  Point place(double vx, double vy) const {
    return {plot.left + x.position(vx) * plot.width(), plot.bottom - y.position(vy) * plot.height()};
  }
};

// The range of what is drawn, with air above and below.
Axis y_axis(const LineChart& chart, Range range) {
  if (chart.y_scale == Scale::logarithmic) {
    double air = std::pow(range.high / range.low, 0.04);
    return make_axis(chart.y_scale, range.low / air, range.high * air, 8);
  }
  double air = 0.05 * (range.high - range.low);
  double low = range.low - air;
  // Quantities that cannot be negative get no negative ticks.
  if (chart.y_from_zero || (range.low >= 0 && low < 0)) low = std::min(0.0, range.low);
  return make_axis(chart.y_scale, low, range.high + air, 8);
}

std::optional<std::pair<Axis, Axis>> chart_axes(const LineChart& chart) {
  Range xs, ys;
  for (const Series& series : chart.series) {
    for (size_t i = 0; i < series.x.size(); ++i) {
      if (!drawable(series.x[i], chart.x_scale) || !drawable(series.y[i], chart.y_scale)) continue;
      xs.add(series.x[i]);
      if (series.y[i] <= chart.y_most) ys.add(series.y[i]);
    }
  }
  if (xs.empty() || ys.empty()) return std::nullopt;
  // Counts that begin near zero begin at zero.
  bool from_zero = chart.x_scale == Scale::linear && xs.low > 0 && xs.low < 0.1 * xs.high;
  return std::pair(make_axis(chart.x_scale, from_zero ? 0 : xs.low, xs.high, 8), y_axis(chart, ys));
}

const Colour& series_colour(const Series& series) {
  return kPalette[static_cast<size_t>(std::max(0, series.colour)) % kPalette.size()];
}

struct Stroke {
  double width;
  double alpha;
};

Stroke stroke_of(LineStyle style) {
  switch (style) {
    case LineStyle::thin: return {1.2, 0.8};
    case LineStyle::faint: return {1.1, 0.45};
    case LineStyle::line:
    case LineStyle::markers: break;
  }
  return {2.0, 1.0};
}

void set_stroke(Pen& pen, const Series& series) {
  Stroke stroke = stroke_of(series.style);
  pen.colour(series_colour(series), stroke.alpha);
  cairo_set_line_width(pen.raw(), stroke.width);
  cairo_set_line_join(pen.raw(), CAIRO_LINE_JOIN_ROUND);
  cairo_set_line_cap(pen.raw(), CAIRO_LINE_CAP_ROUND);
  size_t lap = static_cast<size_t>(std::max(0, series.colour)) / kPalette.size();
  constexpr std::array<std::array<double, 2>, 2> kDashes{{{5, 4.5}, {1.5, 4}}};
  if (lap == 0) {
    cairo_set_dash(pen.raw(), nullptr, 0, 0);
  } else {
    cairo_set_dash(pen.raw(), kDashes[(lap - 1) % kDashes.size()].data(), 2, 0);
  }
}

// Series of the very same points share their line: each draws every n-th dash of it, and rings of dots.
struct Sharing {
  size_t series = 1;  // n
  size_t place = 0;   // of the series among them
};

Sharing sharing_of(const LineChart& chart, const Series& series) {
  Sharing sharing{0, 0};
  for (const Series& other : chart.series) {
    bool same = &other == &series;
    if (same) sharing.place = sharing.series;
    sharing.series += same || (other.x == series.x && other.y == series.y) ? 1 : 0;  // gaps (NaN) equal nothing
  }
  return sharing;
}

void share_stroke(Pen& pen, const Sharing& sharing) {
  if (sharing.series <= 1) return;
  constexpr double kDash = 12;
  auto count = static_cast<double>(sharing.series);
  std::array<double, 2> dashes{kDash, (count - 1) * kDash};
  cairo_set_line_cap(pen.raw(), CAIRO_LINE_CAP_BUTT);
  cairo_set_dash(pen.raw(), dashes.data(), 2, (count - static_cast<double>(sharing.place)) * kDash);
}

// One connected piece of a line.
using Piece = std::vector<Point>;

std::vector<Piece> pieces_of(const Series& series, const LineChart& chart, const Frame& frame) {
  std::vector<Piece> pieces(1);
  for (size_t i = 0; i < series.x.size(); ++i) {
    if (drawable(series.x[i], chart.x_scale) && drawable(series.y[i], chart.y_scale)) {
      pieces.back().push_back(frame.place(series.x[i], series.y[i]));
    } else if (!pieces.back().empty()) {
      pieces.emplace_back();
    }
  }
  if (pieces.back().empty()) pieces.pop_back();
  return pieces;
}

// At most four points for each half-point column: its first, lowest, highest and last, in the order they came. The
// picture is the one that all points would give.
Piece thinned(const Piece& piece) {
  auto column = [](const Point& p) { return std::floor(2 * p.x); };
  Piece out;
  for (size_t begin = 0; begin < piece.size();) {
    size_t end = begin, low = begin, high = begin;
    for (; end < piece.size() && column(piece[end]) == column(piece[begin]); ++end) {
      if (piece[end].y < piece[low].y) low = end;
      if (piece[end].y > piece[high].y) high = end;
    }
    std::array<size_t, 4> keep{begin, std::min(low, high), std::max(low, high), end - 1};
    for (size_t k = 0; k < keep.size(); ++k) {
      if (k == 0 || keep[k] != keep[k - 1]) out.push_back(piece[keep[k]]);
    }
    begin = end;
  }
  return out;
}

void draw_series(Pen& pen, const Series& series, const LineChart& chart, const Frame& frame) {
  std::vector<Piece> pieces = pieces_of(series, chart, frame);
  size_t points = 0;
  for (const Piece& piece : pieces) points += piece.size();
  bool dots = series.style == LineStyle::markers && static_cast<double>(points) * 9 < frame.plot.width();
  set_stroke(pen, series);
  Sharing sharing = sharing_of(chart, series);
  share_stroke(pen, sharing);
  const double rings = 2 * static_cast<double>(sharing.series - 1 - sharing.place);
  for (const Piece& piece : pieces) {
    if (piece.size() > 1) {
      for (const Point& p : thinned(piece)) cairo_line_to(pen.raw(), p.x, p.y);
      cairo_stroke(pen.raw());
    }
    // A single point has no line to be seen by.
    if (dots || piece.size() == 1) {
      for (const Point& p : piece) pen.dot(p.x, p.y, rings + (series.style == LineStyle::faint ? 2.2 : 3.2));
    }
  }
}

// Draws the legend in rows from `top` on and returns where it ends.
double draw_legend(Pen& pen, const LineChart& chart, double top) {
  constexpr double kRow = 19, kSwatch = 28, kGap = 7, kBetween = 22;
  pen.font(12.5);
  double x = kMargin, y = top;
  bool any = false;
  for (const Series& series : chart.series) {
    if (series.label.empty()) continue;
    std::string label = shorten(clean_text(series.label), kLongestLabel);
    double width = kSwatch + kGap + pen.text_width(label);
    if (any && x + width > kWidth - kMargin) {
      x = kMargin;
      y += kRow;
    }
    any = true;
    set_stroke(pen, series);
    cairo_move_to(pen.raw(), x + 1, y + kRow / 2);
    cairo_line_to(pen.raw(), x + kSwatch - 1, y + kRow / 2);
    cairo_stroke(pen.raw());
    if (series.style == LineStyle::markers) pen.dot(x + kSwatch / 2, y + kRow / 2, 3.2);
    pen.colour(kInk);
    pen.text(x + kSwatch + kGap, y + kRow / 2 + 4.5, label);
    x += width + kBetween;
  }
  return any ? y + kRow + 8 : top;
}

double widest_label(Pen& pen, const Axis& axis) {
  double widest = 0;
  for (const Tick& tick : axis.ticks) widest = std::max(widest, pen.text_width(tick.label));
  return widest;
}

void draw_axes(Pen& pen, const Frame& frame) {
  const Rectangle& plot = frame.plot;
  cairo_set_dash(pen.raw(), nullptr, 0, 0);
  cairo_set_line_cap(pen.raw(), CAIRO_LINE_CAP_BUTT);
  pen.font(12);
  for (const Tick& tick : frame.y.ticks) {
    double y = plot.bottom - frame.y.position(tick.value) * plot.height();
    pen.colour(kGrid);
    pen.line(plot.left, y, plot.right, y, tick.label.empty() ? 0.4 : 1);
    pen.colour(kQuiet);
    pen.text(plot.left - 8, y + 4.2, tick.label, Anchor::end);
  }
  pen.colour(kAxis);
  pen.line(plot.left, plot.bottom, plot.right, plot.bottom, 1);
  for (const Tick& tick : frame.x.ticks) {
    double x = plot.left + frame.x.position(tick.value) * plot.width();
    pen.colour(kAxis);
    pen.line(x, plot.bottom, x, plot.bottom + (tick.label.empty() ? 0.6 : 1) * kTickLength, 1);
    pen.colour(kQuiet);
    pen.text(x, plot.bottom + kTickLength + 14, tick.label, Anchor::middle);
  }
}

void draw_chart(Pen& pen, const LineChart& chart) {
  pen.colour(kBackground);
  cairo_paint(pen.raw());
  pen.colour(kInk);
  pen.font(17, true);
  pen.text(kMargin, 36, shorten(clean_text(chart.title), 80));
  double top = draw_legend(pen, chart, 52);
  pen.colour(kQuiet);
  pen.font(12.5);
  pen.text(kMargin, top + 12, clean_text(chart.y_label));

  auto axes = chart_axes(chart);
  if (!axes) {
    pen.text(kWidth / 2, kHeight / 2, "no data", Anchor::middle);
    return;
  }
  Frame frame{.x = std::move(axes->first), .y = std::move(axes->second)};
  pen.font(12);
  double half_label = widest_label(pen, frame.x) / 2;
  frame.plot = {.left = kMargin + std::max(widest_label(pen, frame.y) + 8, half_label - kMargin + 4),
                .top = top + 24,
                .right = kWidth - std::max(kMargin, half_label + 6),
                .bottom = kHeight - 58};
  draw_axes(pen, frame);
  pen.colour(kQuiet);
  pen.font(12.5);
  pen.text((frame.plot.left + frame.plot.right) / 2, kHeight - 18, clean_text(chart.x_label), Anchor::middle);

  cairo_save(pen.raw());
  // Room for the width of lines and dots that lie on the border.
  cairo_rectangle(pen.raw(), frame.plot.left - 4, frame.plot.top - 4, frame.plot.width() + 8, frame.plot.height() + 8);
  cairo_clip(pen.raw());
  for (const Series& series : chart.series) draw_series(pen, series, chart, frame);
  cairo_restore(pen.raw());
}

void check_chart(const LineChart& chart) {
  for (const Series& series : chart.series) {
    if (series.x.size() != series.y.size()) {
      throw LogicError({.what = "series of a chart needs one y per x",
                        .where = series.label,
                        .got = fmt::format("{} x and {} y", series.x.size(), series.y.size())});
    }
  }
}

}  // namespace

std::string chart_svg(const LineChart& chart) {
  check_chart(chart);
  return drawing_svg(kWidth, kHeight, [&](Pen& pen) { draw_chart(pen, chart); });
}

std::string chart_png(const LineChart& chart) {
  check_chart(chart);
  return drawing_png(kWidth, kHeight, [&](Pen& pen) { draw_chart(pen, chart); });
}

}  // namespace tandem
