#include "pictures.h"

#include "base/file.h"

namespace tandem::app {

namespace {

void write_picture(const std::filesystem::path& folder, const std::string& name, const std::string& svg,
                   const std::string& png) {
  write_file_atomically(folder / (name + ".svg"), svg);
  write_file_atomically(folder / (name + ".png"), png);
}

}  // namespace

void write_chart(const std::filesystem::path& folder, const std::string& name, const LineChart& chart) {
  write_picture(folder, name, chart_svg(chart), chart_png(chart));
}

void write_chart(const std::filesystem::path& folder, const std::string& name, const BarChart& chart) {
  write_picture(folder, name, bar_chart_svg(chart), bar_chart_png(chart));
}

}  // namespace tandem::app
