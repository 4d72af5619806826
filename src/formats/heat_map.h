// A grid of shares as an SVG drawing: darker is more.
#pragma once

#include <string>
#include <vector>

namespace tandem {

struct HeatMap {
  std::string title;
  std::string x_label;
  std::string y_label;
  std::vector<std::string> columns;
  std::vector<std::string> rows;
  std::vector<std::vector<double>> values;  // [row][column], 0..1; what is not finite is drawn as missing
};

// An SVG document. Every cell shows its value in percent. LogicError when the values do not fill the grid.
std::string heat_map_svg(const HeatMap& map);

}  // namespace tandem
