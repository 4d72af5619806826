// What bench compare has measured, as JSON, tables, pictures and a page.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/json_fwd.h"
#include "eval/comparison.h"

namespace tandem::app {

struct ComparisonReport {
  const ComparisonPlan& plan;
  const std::vector<LoadedContender>& models;
  const ComparisonResult& result;
  std::string machine;  // one line: processor, threads, precision
  std::string command;
};

OrderedJson to_json(const ComparisonReport& report);
std::string text_tables(const ComparisonReport& report);
// compare.json, compare.md, pictures (SVG and PNG) and index.html; the paths that were written.
std::vector<std::string> write_report(const std::filesystem::path& folder, const ComparisonReport& report,
                                      const OrderedJson& json);

}  // namespace tandem::app
