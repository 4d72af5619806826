// Horizontal bars in groups, one group under the other.
#pragma once

#include <string>
#include <vector>

namespace tandem {

struct BarGroup {
  std::string label;
  std::vector<double> values;  // one for each series; 0 or more, or not finite: there is none
  std::string note;            // behind the longest bar
};

struct BarChart {
  std::string title;
  std::string x_label;
  std::vector<std::string> series;  // what the bars of a group are, in the order of BarGroup::values
  std::vector<BarGroup> groups;     // from top to bottom; the picture becomes as high as they need
};

// The bytes of a file. LogicError when a group has other than one value per series; JobError as in drawing.h.
std::string bar_chart_svg(const BarChart& chart);
std::string bar_chart_png(const BarChart& chart);

}  // namespace tandem
