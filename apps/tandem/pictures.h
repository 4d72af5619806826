// Pictures on the disk.
#pragma once

#include <filesystem>
#include <string>

#include "formats/bar_chart.h"
#include "formats/chart.h"

namespace tandem::app {

// NAME.svg and NAME.png in the folder, which is there.
void write_chart(const std::filesystem::path& folder, const std::string& name, const LineChart& chart);
void write_chart(const std::filesystem::path& folder, const std::string& name, const BarChart& chart);

}  // namespace tandem::app
