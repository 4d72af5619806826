#include "eval_report.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "formats/heat_map.h"
#include "formats/html.h"

namespace tandem::app {
namespace {

std::string percent(const OrderedJson& share) { return fmt::format("{:.1f} %", 100 * share.get<double>()); }

// "41.2 % +- 1.1"; "" when the object has no such number.
std::string with_error(const OrderedJson& object, const char* share, const char* error) {
  if (!object.contains(share) || object[share].is_null()) return "";
  return fmt::format("{} +- {:.1f}", percent(object[share]), 100 * object[error].get<double>());
}

// What only some tasks have.
std::string figures(const OrderedJson& task) {
  std::vector<std::string> all;
  auto add = [&](const std::string& text) { all.push_back(text); };
  if (task.contains("perplexity")) add(fmt::format("perplexity {:.4g}", task["perplexity"].get<double>()));
  if (task.contains("right_mass")) {
    add(fmt::format("mass of right answers (MC2) {:.3f}", task["right_mass"].get<double>()));
  }
  if (task.contains("first_form_preference")) {
    add(fmt::format("he over she {:+.3f} nats", task["first_form_preference"].get<double>()));
  }
  if (task.contains("groups")) {
    add(fmt::format("mean of {} groups {}", task["groups"].size(), percent(task["group_mean"])));
  }
  if (task.contains("written")) {
    add(fmt::format("written {} of {}", percent(task["written"]["accuracy"]), task["written"]["items"].get<int64_t>()));
  }
  if (task.contains("greedy_accuracy")) add("written " + percent(task["greedy_accuracy"]));
  if (task.contains("whole") && !task["whole"].is_null()) add("whole texts " + percent(task["whole"]));
  if (task["skipped"] > 0) add(fmt::format("{} too long", task["skipped"].get<int64_t>()));
  return fmt::format("{}", fmt::join(all, "; "));
}

using Row = std::vector<std::string>;

const Row kHeader{"task", "items", "accuracy", "per byte", "chance", ""};

Row row_of(const OrderedJson& task, const char* name) {
  Row row{task[name].get<std::string>(), fmt::format("{}", task["items"].get<int64_t>())};
  if (task["accuracy"].is_null()) {
    row.insert(row.end(), {"-", "", "", "nothing fits into the model's rows"});
    return row;
  }
  row.push_back(with_error(task, "accuracy", "standard_error"));
  row.push_back(with_error(task, "accuracy_per_byte", "standard_error_per_byte"));
  row.push_back(percent(task["chance"]));
  row.push_back(figures(task));
  return row;
}

// Columns as wide as their widest cell; the first and the last begin at the left.
std::string laid_out(const std::vector<Row>& rows) {
  std::vector<size_t> widths(rows.front().size());
  for (const Row& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const Row& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      bool left = i == 0 || i + 1 == row.size();
      line += left ? fmt::format("{:<{}}", row[i], widths[i]) : fmt::format("{:>{}}", row[i], widths[i]);
      line += "  ";
    }
    text += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return text;
}

const OrderedJson* cell_at(const OrderedJson& task, const OrderedJson& length, const OrderedJson& depth) {
  for (const OrderedJson& cell : task["cells"]) {
    if (cell["length"] == length && cell["depth"] == depth) return &cell;
  }
  return nullptr;
}

HeatMap needle_map(const OrderedJson& task, const char* share, const char* title) {
  HeatMap map{
      .title = title, .x_label = "tokens of the context", .y_label = "needle behind this share of the haystack"};
  for (const OrderedJson& length : task["lengths"]) map.columns.push_back(fmt::format("{}", length.get<int64_t>()));
  for (const OrderedJson& depth : task["depths"]) {
    map.rows.push_back(fmt::format("{:g} %", 100 * depth.get<double>()));
    std::vector<double>& values = map.values.emplace_back();
    for (const OrderedJson& length : task["lengths"]) {
      const OrderedJson* cell = cell_at(task, length, depth);
      values.push_back(cell ? (*cell)[share].get<double>() : std::numeric_limits<double>::quiet_NaN());
    }
  }
  return map;
}

HeatMap choice_map(const OrderedJson& task) {
  return needle_map(task, "accuracy",
                    fmt::format("Needle in a haystack: chosen, in % (chance {})", percent(task["chance"])).c_str());
}

HeatMap written_map(const OrderedJson& task) {
  return needle_map(task, "greedy_accuracy", "Needle in a haystack: written, in %");
}

// Accuracy by what each cell of a task stands for.
std::vector<Row> cell_rows(const OrderedJson& task) {
  if (task.contains("lengths")) {
    std::vector<Row> rows{{"length", "depth", "items", "accuracy", "written", "mean rank"}};
    for (const OrderedJson& cell : task["cells"]) {
      rows.push_back({fmt::format("{}", cell["length"].get<int64_t>()),
                      fmt::format("{:g}", cell["depth"].get<double>()), fmt::format("{}", cell["items"].get<int64_t>()),
                      with_error(cell, "accuracy", "standard_error"),
                      with_error(cell, "greedy_accuracy", "greedy_standard_error"),
                      fmt::format("{:.1f}", cell["mean_rank"].get<double>())});
    }
    return rows;
  }
  const char* size = task["cells"].front().contains("pairs") ? "pairs" : "letters";
  std::vector<Row> rows{{size, "items", "too long", "accuracy", "whole texts"}};
  for (const OrderedJson& cell : task["cells"]) {
    rows.push_back({fmt::format("{}", cell[size].get<int64_t>()), fmt::format("{}", cell["items"].get<int64_t>()),
                    fmt::format("{}", cell["skipped"].get<int64_t>()), with_error(cell, "accuracy", "standard_error"),
                    with_error(cell, "whole", "whole_standard_error")});
  }
  return rows;
}

bool has_cells(const OrderedJson& task) { return task.contains("cells") && !task["cells"].empty(); }

std::vector<Row> group_rows(const OrderedJson& task) {
  std::vector<Row> rows{{"group", "items", "accuracy"}};
  for (const OrderedJson& group : task["groups"]) {
    rows.push_back({group["name"].get<std::string>(), fmt::format("{}", group["items"].get<int64_t>()),
                    percent(group["accuracy"])});
  }
  return rows;
}

void add_table(HtmlPage& page, const std::vector<Row>& rows) {
  page.table(rows.front(), {rows.begin() + 1, rows.end()});
}

void add_details(HtmlPage& page, const OrderedJson& task, const std::filesystem::path& folder) {
  bool groups = task.contains("groups");
  if (!groups && !has_cells(task)) return;
  page.heading(task["name"].get<std::string>());
  if (task.contains("depths")) {
    std::string chosen = heat_map_svg(choice_map(task)), written = heat_map_svg(written_map(task));
    write_file_atomically(folder / "needle.svg", chosen);
    write_file_atomically(folder / "needle-written.svg", written);
    page.drawing(chosen, "accuracy of the choice by length and depth");
    page.drawing(written, "share of codes that were written, by length and depth");
  }
  add_table(page, groups ? group_rows(task) : cell_rows(task));
}

}  // namespace

std::string task_report(const OrderedJson& tasks) {
  std::vector<Row> rows{kHeader};
  for (const OrderedJson& task : tasks) rows.push_back(row_of(task, "task"));
  std::string text = laid_out(rows);
  for (const OrderedJson& task : tasks) {
    if (has_cells(task)) text += "\n" + task["task"].get<std::string>() + "\n" + laid_out(cell_rows(task));
  }
  return text;
}

std::string choice_report(const OrderedJson& sets) {
  std::vector<Row> rows{kHeader};
  for (const OrderedJson& set : sets) rows.push_back(row_of(set, "name"));
  return laid_out(rows);
}

void write_task_page(const std::filesystem::path& folder, const OrderedJson& json) {
  create_folder(folder);
  HtmlPage page(fmt::format("Tasks: {}", json["model"].get<std::string>()));
  for (const char* list : {"tasks", "choice"}) {
    if (!json.contains(list)) continue;
    std::vector<Row> rows{kHeader};
    for (const OrderedJson& task : json[list])
      rows.push_back(row_of(task, list == std::string("tasks") ? "task" : "name"));
    add_table(page, rows);
    for (const OrderedJson& task : json[list]) add_details(page, task, folder);
  }
  write_file_atomically(folder / "tasks.html", page.text());
}

}  // namespace tandem::app
