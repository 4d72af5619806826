// Losses of study folding as JSON, tables and pictures.
#include <algorithm>
#include <functional>

#include "base/json.h"
#include "study_folding.h"

namespace tandem::app {
namespace {

using Value = std::function<double(const FoldingScores& scores)>;

// Over the models of a label.
double mean(const FoldingGroup& group, const Value& value) {
  double sum = 0;
  for (const FoldingScores& scores : group.scores) sum += value(scores);
  return sum / static_cast<double>(group.scores.size());
}

double block_loss(const FoldingGroup& group, size_t interval) {
  if (!group.has_blocks) return mean(group, [](const FoldingScores& s) { return s.as_trained.loss(); });
  return mean(group, [&](const FoldingScores& s) { return s.by_block[interval].loss(); });
}

// What a range of positions loses; of a model without blocks the same for every interval.
double range_loss(const FoldingGroup& group, bool beyond, size_t interval, size_t range) {
  return mean(group, [&](const FoldingScores& s) {
    const std::vector<EvalResult>& results = beyond ? s.beyond : s.by_block;
    const EvalResult& result = group.has_blocks ? results[interval] : beyond ? results.front() : s.as_trained;
    return result.by_position[range].loss();
  });
}

OrderedJson results_json(const std::vector<EvalResult>& results) {
  OrderedJson list = OrderedJson::array();
  for (const EvalResult& result : results) {
    OrderedJson ranges = OrderedJson::array();
    for (const PositionLoss& each : result.by_position) {
      ranges.push_back({{"begin", each.begin}, {"end", each.end}, {"tokens", each.tokens}, {"loss", each.loss()}});
    }
    list.push_back(std::move(ranges));
  }
  return list;
}

OrderedJson group_json(const FoldingStudy& study, const FoldingGroup& group) {
  OrderedJson json{{"label", group.label},
                   {"models", group.models},
                   {"has_blocks", group.has_blocks},
                   {"trained_length", group.trained_length},
                   {"tokens", group.scores.front().as_trained.tokens}};
  for (const FoldingScores& scores : group.scores) {
    json["as_trained"].push_back(scores.as_trained.loss());
    std::vector<double> losses(study.intervals.size(), scores.as_trained.loss());
    std::vector<EvalResult> results(study.intervals.size(), scores.as_trained);
    if (group.has_blocks) results = scores.by_block;
    std::transform(results.begin(), results.end(), losses.begin(), [](const EvalResult& r) { return r.loss(); });
    json["losses"].push_back(losses);
    json["by_position"].push_back(results_json(results));
    if (study.beyond_length > 0) json["beyond"].push_back(results_json(scores.beyond));
  }
  return json;
}

std::string interval_name(const FoldingStudy& study, const FoldingGroup& group, bool beyond, size_t interval) {
  if (!group.has_blocks) return "no blocks";
  int64_t tokens = beyond ? study.beyond_intervals[interval] : study.intervals[interval];
  if (tokens >= (beyond ? study.beyond_length : group.trained_length)) return "never folded";
  return fmt::format("blocks of {}", tokens);
}

// One line per label and length of blocks, one column per range of positions.
std::string ranges_table(const FoldingStudy& study, bool beyond) {
  std::string text;
  const std::vector<int64_t>& intervals = beyond ? study.beyond_intervals : study.intervals;
  for (const FoldingGroup& group : study.groups) {
    const FoldingScores& first = group.scores.front();
    const EvalResult& shape = beyond ? first.beyond.front() : first.as_trained;
    text += fmt::format("{:<28}", group.label);
    for (const PositionLoss& range : shape.by_position) {
      bool outside = range.begin >= group.trained_length;
      text += fmt::format("{:>12}", fmt::format("{}{}-{}", outside ? "*" : "", range.begin, range.end - 1));
    }
    text += "\n";
    for (size_t i = 0; i < (group.has_blocks ? intervals.size() : 1); ++i) {
      text += fmt::format("  {:<26}", interval_name(study, group, beyond, i));
      for (size_t r = 0; r < shape.by_position.size(); ++r) {
        text += fmt::format("{:>12.4f}", range_loss(group, beyond, i, r));
      }
      text += "\n";
    }
  }
  return text;
}

}  // namespace

OrderedJson losses_json(const FoldingStudy& study) {
  OrderedJson json{{"intervals", study.intervals}};
  if (study.beyond_length > 0) {
    json["beyond_length"] = study.beyond_length;
    json["beyond_intervals"] = study.beyond_intervals;
  }
  for (const FoldingGroup& group : study.groups) json["groups"].push_back(group_json(study, group));
  return json;
}

std::string losses_table(const FoldingStudy& study) {
  std::string text = fmt::format("Nats per token, positions within the trained length\n{:<28}{:>10}", "", "as trained");
  for (int64_t r : study.intervals) text += fmt::format("{:>9}", r);
  text += "\n";
  for (const FoldingGroup& group : study.groups) {
    double own = mean(group, [](const FoldingScores& s) { return s.as_trained.loss(); });
    text += fmt::format("{:<28}{:>10.4f}", group.label, own);
    for (size_t i = 0; group.has_blocks && i < study.intervals.size(); ++i) {
      text += fmt::format("{:>9.4f}", block_loss(group, i));
    }
    text += "\n";
  }
  return text;
}

std::string positions_table(const FoldingStudy& study) {
  return "Nats per token by position in the row\n" + ranges_table(study, false);
}

std::string beyond_table(const FoldingStudy& study) {
  return fmt::format("Nats per token by position in sequences of {} tokens; *: beyond the trained length\n",
                     study.beyond_length) +
         ranges_table(study, true);
}

LineChart losses_chart(const FoldingStudy& study) {
  LineChart chart{.title = "Held-out loss by the length of blocks",
                  .x_label = "tokens of a block",
                  .y_label = "nats per token",
                  .x_scale = Scale::logarithmic};
  for (size_t g = 0; g < study.groups.size(); ++g) {
    const FoldingGroup& group = study.groups[g];
    Series series{.label = group.label,
                  .colour = static_cast<int>(g),
                  .style = group.has_blocks ? LineStyle::markers : LineStyle::line};
    for (size_t i = 0; i < study.intervals.size(); ++i) {
      series.x.push_back(static_cast<double>(study.intervals[i]));
      series.y.push_back(block_loss(group, i));
    }
    chart.series.push_back(std::move(series));
  }
  return chart;
}

LineChart beyond_chart(const FoldingStudy& study) {
  LineChart chart{.title = "Loss along sequences longer than the rows of training",
                  .x_label = "position",
                  .y_label = "nats per token",
                  .x_scale = Scale::logarithmic};
  // All intervals would cover each other: the middle one, and none.
  const size_t never = study.beyond_intervals.size() - 1, some = study.intervals.size() / 2;
  for (const FoldingGroup& group : study.groups) {
    for (size_t i : {some, never}) {
      if (!group.has_blocks && i == never) continue;
      Series series{.label = fmt::format("{}, {}", group.label, interval_name(study, group, true, i)),
                    .colour = static_cast<int>(chart.series.size()),
                    .style = group.has_blocks ? LineStyle::markers : LineStyle::line};
      const EvalResult& shape = group.scores.front().beyond.front();
      for (size_t r = 0; r < shape.by_position.size(); ++r) {
        const PositionLoss& range = shape.by_position[r];
        series.x.push_back(0.5 * static_cast<double>(range.begin + range.end));
        series.y.push_back(range_loss(group, true, i, r));
      }
      chart.series.push_back(std::move(series));
    }
  }
  return chart;
}

}  // namespace tandem::app
