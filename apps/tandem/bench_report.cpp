#include "bench_report.h"

#include <algorithm>
#include <cmath>

#include "base/file.h"
#include "base/json.h"
#include "formats/chart.h"
#include "formats/html.h"

namespace tandem::app {
namespace {

namespace fs = std::filesystem;

constexpr double kMiB = 1 << 20;

struct Table {
  std::string title;
  std::string explanation;
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;
};

// "does not fit" of "does not fit: 61.0 MiB of 48.0": the JSON has the rest.
std::string short_note(const std::string& note) {
  return note.empty() ? "-" : note.substr(0, note.find_first_of(":("));
}

std::string milliseconds(double seconds) { return fmt::format("{:.{}f}", 1e3 * seconds, seconds < 0.1 ? 2 : 0); }

template <class Cell, class Same>
const Cell* find(const std::vector<Cell>& cells, const Same& same) {
  auto found = std::find_if(cells.begin(), cells.end(), same);
  return found == cells.end() ? nullptr : &*found;
}

// One row per model that there is; `cells` adds those behind its name.
template <class Cells>
void add_rows(Table& table, const ComparisonReport& report, const Cells& cells) {
  for (size_t m = 0; m < report.models.size(); ++m) {
    if (!report.models[m].model) continue;
    std::vector<std::string> row{report.models[m].contender->name};
    cells(report.result.models[m], m, row);
    table.rows.push_back(std::move(row));
  }
}

Table models_table(const ComparisonReport& report) {
  Table table{"Models",
              "Random weights unless a model folder was given. Without the embedding the family's models have "
              "equal parameters, but for the decoder-only model of equal decode cost.",
              {"model", "role", "parameters", "without embedding", "width", "MLP"},
              {}};
  for (size_t m = 0; m < report.models.size(); ++m) {
    const LoadedContender& each = report.models[m];
    const ContenderResult& result = report.result.models[m];
    const ModelConfig& config = each.contender->config;
    std::vector<std::string> row{each.contender->name, std::string(role_name(each.contender->role))};
    std::replace(row[1].begin(), row[1].end(), '_', ' ');
    if (each.model) {
      for (int64_t n : {result.parameters, result.non_embedding_parameters, config.dim, config.mlp_size()}) {
        row.push_back(fmt::format("{}", n));
      }
    } else {
      row.push_back("cannot be derived: " + each.contender->refusal);
      row.resize(table.header.size());
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

Table first_token_table(const ComparisonReport& report) {
  Table table{"Time to the first token, ms", "The prompt is read and a token is written.", {"model"}, {}};
  for (int64_t context : report.plan.contexts) table.header.push_back(fmt::format("{}", context));
  add_rows(table, report, [&](const ContenderResult& result, size_t, std::vector<std::string>& row) {
    for (int64_t context : report.plan.contexts) {
      const auto* cell = find(result.first_token, [&](const FirstTokenCell& c) { return c.context == context; });
      row.push_back(!cell ? "-" : cell->note.empty() ? milliseconds(cell->seconds) : short_note(cell->note));
    }
  });
  return table;
}

Table decode_table(const ComparisonReport& report, int64_t batch) {
  Table table{
      fmt::format("Time per written token, ms, {} together", batch),
      "A step writes a token for each; its time over their number, by tokens of context. In brackets: what must "
      "be read arrives at so many GB/s.",
      {"model"},
      {}};
  for (int64_t context : report.plan.contexts) table.header.push_back(fmt::format("{}", context));
  add_rows(table, report, [&](const ContenderResult& result, size_t, std::vector<std::string>& row) {
    for (int64_t context : report.plan.contexts) {
      const auto* cell =
          find(result.decode, [&](const DecodeCell& c) { return c.context == context && c.batch == batch; });
      if (!cell || !cell->note.empty()) {
        row.push_back(cell ? short_note(cell->note) : "-");
        continue;
      }
      row.push_back(fmt::format("{} ({:.1f})", milliseconds(cell->step_seconds / static_cast<double>(batch)),
                                cell->bytes_read / cell->step_seconds / 1e9));
    }
  });
  return table;
}

Table cache_table(const ComparisonReport& report) {
  Table table{"Cache of one sequence, MiB of whole pages",
              "As writing needs it / with the state that only reading on needs / at rest.",
              {"model"},
              {}};
  for (int64_t context : report.plan.contexts) table.header.push_back(fmt::format("{}", context));
  add_rows(table, report, [&](const ContenderResult& result, size_t, std::vector<std::string>& row) {
    for (int64_t context : report.plan.contexts) {
      const auto* cell = find(result.cache, [&](const CacheCell& c) { return c.context == context; });
      if (!cell || !cell->note.empty()) {
        row.push_back(cell ? short_note(cell->note) : "-");
        continue;
      }
      auto mib = [](int64_t bytes) { return fmt::format("{:.2f}", static_cast<double>(bytes) / kMiB); };
      row.push_back(mib(cell->bytes.live) + " / " + mib(cell->bytes.with_encoder) + " / " + mib(cell->bytes.at_rest));
    }
  });
  return table;
}

const ServingCell* twin_cell(const ComparisonReport& report, size_t m) {
  int64_t twin = twin_of(report.models, report.models[m].contender->family);
  if (twin < 0) return nullptr;
  const ServingCell& cell = report.result.models[static_cast<size_t>(twin)].serving;
  return cell.figures.seconds > 0 ? &cell : nullptr;
}

Table serving_table(const ComparisonReport& report) {
  const ServingScenario& s = report.plan.serving;
  Table table{fmt::format("{} requests of {} + {} tokens under a memory limit", s.requests, s.prompt, s.written),
              "Tokens written per second: while writing, and of the whole work, reading included. x: times the "
              "decoder-only model.",
              {"model", "limit MiB", "most together", "mean", "decode tokens/s", "x", "whole tokens/s", "x"},
              {}};
  add_rows(table, report, [&](const ContenderResult& result, size_t m, std::vector<std::string>& row) {
    const ServingCell& cell = result.serving;
    row.push_back(fmt::format("{:.1f}", static_cast<double>(cell.cache_bytes) / kMiB));
    if (cell.figures.seconds == 0 || !cell.note.empty()) {
      row.push_back(short_note(cell.note));
      row.resize(table.header.size());
      return;
    }
    const ServingCell* twin = twin_cell(report, m);
    auto ratio = [&](double (ServingFigures::*rate)() const) {
      return twin ? fmt::format("{:.2f}", (cell.figures.*rate)() / (twin->figures.*rate)()) : "-";
    };
    row.push_back(fmt::format("{}", cell.figures.most_sequences));
    row.push_back(fmt::format("{:.1f}", cell.figures.mean_sequences));
    row.push_back(fmt::format("{:.1f}", cell.figures.decode_rate()));
    row.push_back(ratio(&ServingFigures::decode_rate));
    row.push_back(fmt::format("{:.1f}", cell.figures.work_rate()));
    row.push_back(ratio(&ServingFigures::work_rate));
  });
  return table;
}

std::vector<Table> tables(const ComparisonReport& report) {
  std::vector<Table> all{models_table(report), first_token_table(report)};
  for (int64_t batch : report.plan.batches) all.push_back(decode_table(report, batch));
  all.push_back(cache_table(report));
  if (report.plan.serving.requests > 0) all.push_back(serving_table(report));
  return all;
}

std::string as_text(const Table& table) {
  std::vector<std::vector<std::string>> rows = table.rows;
  rows.insert(rows.begin(), table.header);
  std::vector<size_t> widths(table.header.size(), 0);
  auto refused = [](const std::vector<std::string>& row) { return row.back().empty(); };
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size() && (i == 0 || !refused(row)); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string out = table.title + "\n";
  for (const auto& row : rows) {
    std::string line = fmt::format("  {:<{}}", row[0], widths[0]);
    for (size_t i = 1; i < row.size(); ++i) line += fmt::format("  {:>{}}", row[i], refused(row) ? 0 : widths[i]);
    out += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return out + "\n";
}

std::string as_markdown(const Table& table) {
  auto line = [](const std::vector<std::string>& cells) {
    std::string out = "|";
    for (const std::string& cell : cells) out += " " + cell + " |";
    return out + "\n";
  };
  std::string out = fmt::format("## {}\n\n{}\n\n{}|---|", table.title, table.explanation, line(table.header));
  for (size_t i = 1; i < table.header.size(); ++i) out += "---:|";
  out += "\n";
  for (const auto& row : table.rows) out += line(row);
  return out + "\n";
}

struct Picture {
  std::string name;
  std::string description;
  LineChart chart;
};

LineChart context_chart(const std::string& title, const std::string& y_label) {
  return {.title = title,
          .x_label = "tokens of context",
          .y_label = y_label,
          .x_scale = Scale::logarithmic,
          .y_scale = Scale::logarithmic};
}

template <class Cells, class Value>
void add_series(LineChart& chart, const std::string& label, int colour, const Cells& cells, const Value& value) {
  Series series{.label = label, .colour = colour, .style = LineStyle::markers};
  for (const auto& cell : cells) {
    std::optional<double> y = cell.note.empty() ? value(cell) : std::nullopt;
    if (!y) continue;
    series.x.push_back(static_cast<double>(cell.context));
    series.y.push_back(*y);
  }
  if (!series.x.empty()) chart.series.push_back(std::move(series));
}

std::vector<Picture> draw(const ComparisonReport& report) {
  std::vector<Picture> pictures;
  auto for_models = [&](const auto& add) {
    for (size_t m = 0; m < report.models.size(); ++m) {
      if (report.models[m].model) {
        add(report.models[m].contender->name, static_cast<int>(m), report.result.models[m]);
      }
    }
  };
  auto keep = [&](std::string name, LineChart chart) {
    if (chart.series.empty()) return;
    std::string description = chart.title + ", " + chart.y_label + " by tokens of context";
    pictures.push_back({std::move(name), std::move(description), std::move(chart)});
  };
  LineChart first = context_chart("Time to the first token", "ms");
  for_models([&](const std::string& name, int colour, const ContenderResult& result) {
    add_series(first, name, colour, result.first_token,
               [](const FirstTokenCell& cell) { return std::optional(1e3 * cell.seconds); });
  });
  keep("first_token", std::move(first));
  for (int64_t batch : report.plan.batches) {
    std::string together = batch == 1 ? "one sequence" : fmt::format("{} sequences together", batch);
    LineChart chart = context_chart("Time per written token, " + together, "ms per token");
    for_models([&](const std::string& name, int colour, const ContenderResult& result) {
      add_series(chart, name, colour, result.decode, [&](const DecodeCell& cell) {
        return cell.batch == batch ? std::optional(1e3 * cell.step_seconds / static_cast<double>(batch)) : std::nullopt;
      });
    });
    keep(fmt::format("decode_{}", batch), std::move(chart));
  }
  LineChart cache = context_chart("Cache of one sequence, as writing needs it", "MiB of whole pages");
  LineChart rest = context_chart("Cache of one sequence, at rest", "MiB of whole pages");
  for_models([&](const std::string& name, int colour, const ContenderResult& result) {
    auto mib = [](int64_t StateBytes::*bytes) {
      return [bytes](const CacheCell& cell) { return std::optional(static_cast<double>(cell.bytes.*bytes) / kMiB); };
    };
    add_series(cache, name, colour, result.cache, mib(&StateBytes::live));
    add_series(rest, name, colour, result.cache, mib(&StateBytes::at_rest));
  });
  keep("cache", std::move(cache));
  keep("cache_at_rest", std::move(rest));
  return pictures;
}

std::string page(const ComparisonReport& report, const std::vector<Picture>& pictures, const OrderedJson& json) {
  HtmlPage html("Generation: models side by side");
  html.paragraph(report.machine);
  if (report.result.stopped) html.paragraph("Stopped before everything was measured.");
  for (const Table& table : tables(report)) {
    html.heading(table.title);
    html.paragraph(table.explanation);
    html.table(table.header, table.rows);
  }
  html.heading("Pictures");
  for (const Picture& picture : pictures) html.drawing(chart_svg(picture.chart), picture.description);
  html.heading("How it was measured");
  html.paragraph(
      "Models take turns within every cell for several rounds, since machines change their speed within minutes; "
      "medians "
      "are shown. Caches are whole pages that were really held.");
  html.foldable("command", report.command);
  html.foldable("compare.json", json.dump(2));
  return html.text();
}

OrderedJson noted(OrderedJson json, const std::string& note) {
  json["note"] = note.empty() ? OrderedJson(nullptr) : OrderedJson(note);
  return json;
}

OrderedJson value_or_null(double value) { return value > 0 ? OrderedJson(value) : OrderedJson(nullptr); }

OrderedJson serving_json(const ComparisonReport& report, size_t m) {
  const ServingCell& cell = report.result.models[m].serving;
  OrderedJson json{{"cache_limit_bytes", cell.cache_bytes}};
  if (cell.figures.seconds > 0) {
    const ServingFigures& f = cell.figures;
    const ServingCell* twin = twin_cell(report, m);
    json["seconds"] = f.seconds;
    json["read_seconds"] = f.read_seconds;
    json["write_seconds"] = f.write_seconds;
    json["read_tokens"] = f.read_tokens;
    json["written_tokens"] = f.written_tokens;
    json["most_sequences"] = f.most_sequences;
    json["mean_sequences"] = f.mean_sequences;
    json["decode_tokens_per_second"] = f.decode_rate();
    json["tokens_per_second"] = f.work_rate();
    json["decode_over_decoder_only"] = twin ? OrderedJson(f.decode_rate() / twin->figures.decode_rate()) : nullptr;
    json["over_decoder_only"] = twin ? OrderedJson(f.work_rate() / twin->figures.work_rate()) : nullptr;
  }
  return noted(std::move(json), cell.note);
}

OrderedJson model_json(const ComparisonReport& report, size_t m) {
  const LoadedContender& each = report.models[m];
  const ContenderResult& result = report.result.models[m];
  const ModelConfig& config = each.contender->config;
  OrderedJson json{{"name", each.contender->name},
                   {"role", role_name(each.contender->role)},
                   {"arch", arch_name(config.arch)},
                   {"family", each.contender->family}};
  if (!each.model) return noted(std::move(json), each.contender->refusal);
  json["parameters"] = result.parameters;
  json["non_embedding_parameters"] = result.non_embedding_parameters;
  json["dim"] = config.dim;
  json["mlp_dim"] = config.mlp_size();
  json["n_encoder_layers"] = config.n_encoder_layers;
  json["n_decoder_layers"] = config.n_decoder_layers;
  json["first_token"] = json["decode"] = json["cache"] = OrderedJson::array();
  for (const FirstTokenCell& cell : result.first_token) {
    json["first_token"].push_back(
        noted({{"context", cell.context}, {"ms", value_or_null(1e3 * cell.seconds)}}, cell.note));
  }
  auto peak = report.result.peak_read_bytes_per_second;
  for (const DecodeCell& cell : result.decode) {
    auto batch = static_cast<double>(cell.batch);
    OrderedJson one{{"context", cell.context}, {"batch", cell.batch}, {"cache_bytes", cell.cache_bytes}};
    if (cell.step_seconds > 0) {
      one["ms_per_token"] = 1e3 * cell.step_seconds / batch;
      one["tokens_per_second"] = batch / cell.step_seconds;
      one["bytes_read_per_token"] = cell.bytes_read / batch;
      one["read_gb_per_second"] = cell.bytes_read / cell.step_seconds / 1e9;
      one["share_of_peak_read"] = cell.bytes_read / cell.step_seconds / peak;
    }
    json["decode"].push_back(noted(std::move(one), cell.note));
  }
  for (const CacheCell& cell : result.cache) {
    OrderedJson one{{"context", cell.context}};
    if (cell.note.empty()) {
      one["cache_bytes_live"] = cell.bytes.live;
      one["cache_bytes_with_encoder"] = cell.bytes.with_encoder;
      one["cache_bytes_at_rest"] = cell.bytes.at_rest;
    }
    json["cache"].push_back(noted(std::move(one), cell.note));
  }
  if (report.plan.serving.requests > 0) json["serving"] = serving_json(report, m);
  return noted(std::move(json), "");
}

}  // namespace

OrderedJson to_json(const ComparisonReport& report) {
  const ServingScenario& s = report.plan.serving;
  OrderedJson json{{"machine", report.machine},
                   {"stopped", report.result.stopped},
                   {"rounds", report.plan.rounds},
                   {"contexts", report.plan.contexts},
                   {"batches", report.plan.batches},
                   {"cell_limit_bytes", report.plan.cell_bytes},
                   {"serving", {{"requests", s.requests}, {"prompt", s.prompt}, {"written", s.written}}},
                   {"peak_read_gb_per_second", value_or_null(report.result.peak_read_bytes_per_second / 1e9)}};
  json["models"] = OrderedJson::array();
  for (size_t m = 0; m < report.models.size(); ++m) json["models"].push_back(model_json(report, m));
  return json;
}

std::string text_tables(const ComparisonReport& report) {
  std::string out = report.machine + "\n\n";
  for (const Table& table : tables(report)) out += as_text(table);
  return out;
}

std::vector<std::string> write_report(const fs::path& folder, const ComparisonReport& report, const OrderedJson& json) {
  create_folder(folder);
  std::vector<std::string> files;
  auto write = [&](const std::string& name, std::string_view bytes) {
    write_file_atomically(folder / name, bytes);
    files.push_back((folder / name).string());
  };
  std::vector<Picture> pictures = draw(report);
  for (const Picture& picture : pictures) {
    write(picture.name + ".svg", chart_svg(picture.chart));
    write(picture.name + ".png", chart_png(picture.chart));
  }
  std::string markdown =
      fmt::format("# Generation: models side by side\n\n{}\n\n```sh\n{}\n```\n\n", report.machine, report.command);
  for (const Table& table : tables(report)) markdown += as_markdown(table);
  write("compare.md", markdown);
  write("compare.json", json.dump(2) + "\n");
  write("index.html", page(report, pictures, json));
  return files;
}

}  // namespace tandem::app
