#include "step_report.h"

#include <fmt/format.h>

#include "base/file.h"
#include "base/json.h"
#include "base/machine.h"
#include "pictures.h"

namespace tandem::app {
namespace {

double number(const OrderedJson& json, const char* key) { return json[key].is_null() ? 0 : json[key].get<double>(); }

// "87 % (compute)"; empty for what has no bound.
std::string bound_text(const OrderedJson& op) {
  if (op["bound"].is_null()) return "";
  return fmt::format("{:.0f} % ({})", 100 * number(op, "share_of_bound"), op["bound"].get<std::string>());
}

std::string summary(const OrderedJson& j) {
  return fmt::format(
      "{} in {}: {:.0f} tokens/s (best {:.0f}), {:.1f} % of {:.0f} GFLOP/s, peak memory {:.0f} MiB (predicted {:.0f})",
      j["config"].get<std::string>(), j["precision"].get<std::string>(), number(j, "tokens_per_second"),
      number(j, "tokens_per_second_best"), 100 * number(j, "mfu"), number(j, "peak_flops") / 1e9,
      number(j, "peak_rss_bytes") / (1 << 20), number(j["predicted_memory"], "total") / (1 << 20));
}

// What ranks and the system had to do with it.
std::string surroundings(const OrderedJson& j) {
  std::string text;
  if (const OrderedJson& c = j["communication"]; !c.is_null()) {
    text += fmt::format("{} ranks: {:.1f} MB sent per step, rank 0 waited {:.1f} % of the time\n",
                        c["ranks"].get<int>(), number(c, "bytes_per_step") / 1e6, 100 * number(c, "wait_share"));
  }
  const OrderedJson& s = j["steady_step"];
  text += fmt::format("a steady step: {:g} page faults, {:g} from disk; {:.1f} MB converted, {:.1f} MB copied\n",
                      number(s, "page_faults"), number(s, "major_page_faults"), number(s, "converted_bytes") / 1e6,
                      number(s, "copied_bytes") / 1e6);
  return text;
}

std::string as_markdown(const OrderedJson& j, const std::string& command) {
  std::string text =
      fmt::format("# Where a step goes\n\n{}\n\n{}\n\n```sh\n{}\n```\n\n", summary(j), processor_name(), command) +
      surroundings(j) +
      "\n| op | calls | ms | share | GFLOP/s | GB/s | share of its bound |\n"
      "|---|---:|---:|---:|---:|---:|---:|\n";
  for (const OrderedJson& op : j["ops"]) {
    text += fmt::format("| {} | {} | {:.2f} | {:.1f} % | {:.1f} | {:.1f} | {} |\n", op["op"].get<std::string>(),
                        op["calls"].get<int64_t>(), 1e3 * number(op, "seconds"), 100 * number(op, "share"),
                        number(op, "flops_per_second") / 1e9, number(op, "bytes_per_second") / 1e9, bound_text(op));
  }
  return text;
}

BarChart picture(const OrderedJson& j) {
  BarChart chart{.title = fmt::format("Where a step goes: {}, {}, {:.0f} tokens/s", j["config"].get<std::string>(),
                                      j["precision"].get<std::string>(), number(j, "tokens_per_second")),
                 .x_label = "% of the step",
                 .series = {"measured", "at the machine's own peaks"},
                 .groups = {}};
  for (const OrderedJson& op : j["ops"]) {
    double share = 100 * number(op, "share");
    bool bound = !op["bound"].is_null();
    std::string note = fmt::format("{:.1f} %", share);
    if (bound) note += fmt::format(", {:.0f} % of its bound", 100 * number(op, "share_of_bound"));
    chart.groups.push_back({.label = op["op"].get<std::string>(),
                            .values = {share, bound ? share * number(op, "share_of_bound") : 0},
                            .note = note});
  }
  return chart;
}

}  // namespace

std::string step_text(const OrderedJson& step) {
  std::string text = summary(step) + "\n" + surroundings(step) +
                     fmt::format("{:<24} {:>7} {:>10} {:>7} {:>10} {:>8}   {}\n", "op", "calls", "seconds", "share",
                                 "GFLOP/s", "GB/s", "share of its bound");
  for (const OrderedJson& op : step["ops"]) {
    text += fmt::format("{:<24} {:>7} {:>10.4f} {:>6.1f}% {:>10.1f} {:>8.1f}   {}\n", op["op"].get<std::string>(),
                        op["calls"].get<int64_t>(), number(op, "seconds"), 100 * number(op, "share"),
                        number(op, "flops_per_second") / 1e9, number(op, "bytes_per_second") / 1e9, bound_text(op));
  }
  return text;
}

void write_step_report(const std::filesystem::path& folder, const OrderedJson& step, const std::string& command) {
  write_file_atomically(folder / "step.json", step.dump(2) + "\n");
  write_file_atomically(folder / "step.md", as_markdown(step, command));
  write_chart(folder, "step", picture(step));
}

}  // namespace tandem::app
