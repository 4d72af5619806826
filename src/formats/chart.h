// Line charts, drawn with cairo: the same drawing code gives SVG and PNG.
#pragma once

#include <limits>
#include <string>
#include <vector>

#include "formats/axis.h"

namespace tandem {

inline constexpr int kPaletteSize = 7;

enum class LineStyle {
  line,     // full strength
  thin,     // for noisy data: narrow, and a little transparent where curves lie on each other
  faint,    // thin and pale: noisy data behind a line that matters more
  markers,  // full strength with a dot at each point, as long as the dots do not touch
};

struct Series {
  std::string label;  // "" leaves the series out of the legend
  std::vector<double> x;
  std::vector<double> y;  // as many as x; a value that is not finite is a gap in the line
  int colour = 0;         // index into the palette; from kPaletteSize on it is repeated with dashes
  LineStyle style = LineStyle::line;
};

struct LineChart {
  std::string title;
  std::string x_label;
  std::string y_label;
  Scale x_scale = Scale::linear;
  Scale y_scale = Scale::linear;  // points that a logarithmic axis cannot show (<= 0) are gaps
  bool y_from_zero = false;       // a linear y axis starts at zero
  // Where the y axis ends at the latest: what lies above leaves the picture, so that a few large values do not flatten
  // the rest.
  double y_most = std::numeric_limits<double>::infinity();
  std::vector<Series> series;  // drawn in order, the last on top
};

// The bytes of a file. Nothing is smoothed: lines with more points than pixels keep the extremes of every pixel.
// LogicError when a series has other than one y per x; JobError when cairo fails (out of memory).
std::string chart_svg(const LineChart& chart);
std::string chart_png(const LineChart& chart);

}  // namespace tandem
