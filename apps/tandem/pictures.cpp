#include "pictures.h"

#include "base/file.h"

namespace tandem::app {

void write_chart(const std::filesystem::path& folder, const std::string& name, const LineChart& chart) {
  write_file_atomically(folder / (name + ".svg"), chart_svg(chart));
  write_file_atomically(folder / (name + ".png"), chart_png(chart));
}

}  // namespace tandem::app
