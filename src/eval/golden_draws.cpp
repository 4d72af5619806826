#include "eval/golden_draws.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/json.h"

namespace tandem {
namespace {

constexpr double kQuantile = 4.753;  // a normal variable is larger once in a million
constexpr uint64_t kSeed = 20250101;
constexpr int64_t kBin = 64;  // tokens of a bin of positions

using Histogram = std::vector<double>;

double total(const Histogram& h) {
  double sum = 0;
  for (double n : h) sum += n;
  return sum;
}

// Bins of fewer than 10 in both together go into their neighbour.
void merge_thin_bins(Histogram& a, Histogram& b) {
  Histogram merged_a{0}, merged_b{0};
  for (size_t i = 0; i < a.size(); ++i) {
    if (merged_a.back() + merged_b.back() >= 10) {
      merged_a.push_back(0);
      merged_b.push_back(0);
    }
    merged_a.back() += a[i];
    merged_b.back() += b[i];
  }
  if (merged_a.size() > 1 && merged_a.back() + merged_b.back() < 10) {
    double last_a = merged_a.back(), last_b = merged_b.back();
    merged_a.pop_back();
    merged_b.pop_back();
    merged_a.back() += last_a;
    merged_b.back() += last_b;
  }
  a = std::move(merged_a);
  b = std::move(merged_b);
}

// Statistic of "both were drawn from one distribution" over its bound. `cluster`: how many draws come together, by
// which the statistic of independent ones is too large.
double chi_square_ratio(Histogram a, Histogram b, double cluster = 1) {
  a.resize(std::max(a.size(), b.size()), 0);
  b.resize(a.size(), 0);
  merge_thin_bins(a, b);
  double of_a = total(a), of_b = total(b), statistic = 0;
  if (of_a == 0 || of_b == 0) return of_a == of_b ? 0 : std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < a.size(); ++i) {
    double difference = a[i] * std::sqrt(of_b / of_a) - b[i] * std::sqrt(of_a / of_b);
    statistic += difference * difference / (a[i] + b[i]);
  }
  if (a.size() == 1) return 0;
  return statistic / cluster / chi_square_bound(static_cast<double>(a.size() - 1));
}

Histogram histogram_at(const Json& object, const char* key, const std::string& where) {
  const Json& list = json_at(object, key, where);
  if (!list.is_array()) throw InputError({.what = fmt::format("wrong type of '{}'", key), .where = where});
  Histogram h;
  for (const Json& n : list) {
    if (!n.is_number()) throw InputError({.what = fmt::format("wrong type of '{}'", key), .where = where});
    h.push_back(n.get<double>());
  }
  return h;
}

// {"2": 3315, ...} by number.
Histogram counts_at(const Json& object, const char* key, const std::string& where) {
  const Json& counts = json_at(object, key, where);
  if (!counts.is_object()) throw InputError({.what = fmt::format("wrong type of '{}'", key), .where = where});
  Histogram h;
  for (const auto& [name, n] : counts.items()) {
    size_t at = name.find_first_not_of("0123456789") == std::string::npos && name.size() <= 6 ? std::stoul(name) : 0;
    if (!n.is_number()) throw InputError({.what = fmt::format("wrong type of '{}'", key), .where = where});
    h.resize(std::max(h.size(), at + 1), 0);
    h[at] = n.get<double>();
  }
  return h;
}

void count(Histogram& h, int64_t at, double n = 1) {
  h.resize(std::max(h.size(), static_cast<size_t>(at + 1)), 0);
  h[static_cast<size_t>(at)] += n;
}

std::vector<std::string> prompt_lengths_of(const Json& recorded, const std::string& where) {
  std::vector<std::string> lengths;
  Histogram counts = counts_at(recorded, "stand_in", where);
  for (size_t length = 0; length < counts.size(); ++length) {
    if (counts[length] > 0) lengths.push_back(fmt::format("{}:{}", length, static_cast<int64_t>(counts[length])));
  }
  return lengths;
}

// Mean and variance of a list of numbers.
struct Moments {
  double n = 0, sum = 0, squares = 0;
  void add(double x) {
    n += 1;
    sum += x;
    squares += x * x;
  }
  double mean() const { return sum / n; }
  double variance() const { return squares / n - mean() * mean(); }
};

// Difference of means in units of the bound; the recorded standard deviation is that of as many draws.
double mean_ratio(const Moments& ours, const Json& recorded, const char* key, const std::string& where) {
  const Json& theirs = json_at(recorded, key, where);
  double deviation = json_number(theirs, "std", where);
  double error = std::sqrt((ours.variance() + deviation * deviation) / ours.n);
  double difference = std::abs(ours.mean() - json_number(theirs, "mean", where));
  return difference == 0 ? 0 : difference / (kQuantile * error);
}

constexpr const char* kMeasure = "over the bound of chance";

void check_strategy(ParityCollector& out, const std::string& name, const Json& recorded, int64_t length, int64_t draws,
                    const std::string& where) {
  ModelConfig config = smallest_config(Arch::double_decoder, length);
  if (!config.boundaries.parse(name)) return;
  if (config.boundaries.kind == BoundaryKind::prompt_style) config.prompt_lengths = prompt_lengths_of(recorded, where);
  Histogram counts, positions;
  for (const std::vector<int32_t>& boundaries : drawn_boundaries(config, length, draws)) {
    count(counts, static_cast<int64_t>(boundaries.size()));
    for (int32_t t : boundaries) count(positions, t / kBin);
  }
  const std::string kClass = "boundary statistics";
  out.add(kClass, kMeasure, name + ".n_boundaries",
          chi_square_ratio(counts, counts_at(recorded, "n_boundaries_hist", where)), 1.0);
  out.add(kClass, kMeasure, name + ".positions",
          chi_square_ratio(positions, histogram_at(recorded, "position_hist_64", where)), 1.0);
}

// BOS and ordinary tokens; packed: EOS and BOS after every 254 of them.
Batch span_row(const ModelConfig& config, int64_t length, bool packed) {
  constexpr int64_t kPeriod = 256;
  Batch batch;
  batch.rows = 1;
  batch.length = length;
  batch.objective = Objective::span_corruption;
  for (int64_t t = 0; t < length; ++t) {
    bool bos = t == 0 || (packed && t % kPeriod == 0), eos = packed && t % kPeriod == kPeriod - 1;
    batch.ids.push_back(static_cast<int32_t>(bos ? config.bos_id : eos ? config.eos_id : 3));
    batch.positions.push_back(static_cast<int32_t>(t));
    batch.segments.push_back(0);
    batch.labels.push_back(kIgnoreLabel);
  }
  return batch;
}

struct SpanCounts {
  Moments masked, spans, encoder_length, decoder_length;
  Histogram lengths, positions, reached;
  double length_sum = 0, length_squares = 0;

  void add(const Batch& batch, int64_t target) {
    int64_t covered = 0;
    for (const TokenRange& span : batch.spans) {
      covered += span.size();
      count(lengths, span.size());
      for (int64_t t = span.begin; t < span.end; ++t) count(positions, t / kBin);
      length_sum += static_cast<double>(span.size());
      length_squares += static_cast<double>(span.size() * span.size());
    }
    masked.add(static_cast<double>(covered));
    spans.add(static_cast<double>(batch.spans.size()));
    encoder_length.add(static_cast<double>(batch.reader.ids.size()));
    decoder_length.add(static_cast<double>(batch.writer.ids.size()));
    count(reached, covered >= target ? 1 : 0);
  }
  // Masked positions come a span at a time.
  double cluster() const { return length_squares / length_sum; }
};

void check_spans(ParityCollector& out, const std::string& name, const Json& recorded, int64_t length, int64_t draws,
                 const std::string& where) {
  ModelConfig config = smallest_config(Arch::encoder_decoder, length);
  std::unique_ptr<Model> model = smallest_model(config);
  SpanCounts ours;
  Batch row = span_row(config, length, name == "packed");
  for (int64_t i = 0; i < draws; ++i) {
    Batch batch = row;
    Rng rng(kSeed, static_cast<uint64_t>(i));
    model->prepare(batch, rng);
    ours.add(batch, json_int(recorded, "target_mask", where));
  }
  auto add = [&](const char* what, double ratio) {
    out.add("span statistics", kMeasure, fmt::format("{}.{}", name, what), ratio, 1.0);
  };
  add("masked", mean_ratio(ours.masked, recorded, "masked", where));
  add("spans", mean_ratio(ours.spans, recorded, "spans", where));
  add("encoder_length", mean_ratio(ours.encoder_length, recorded, "encoder_length", where));
  add("decoder_length", mean_ratio(ours.decoder_length, recorded, "decoder_length", where));
  add("span_length_hist", chi_square_ratio(ours.lengths, histogram_at(recorded, "span_length_hist", where)));
  add("masked_position_hist_64",
      chi_square_ratio(ours.positions, histogram_at(recorded, "masked_position_hist_64", where), ours.cluster()));
  double reached = json_number(recorded, "share_of_draws_that_reach_target", where) * static_cast<double>(draws);
  add("share_of_draws_that_reach_target",
      chi_square_ratio(ours.reached, {static_cast<double>(draws) - reached, reached}));
}

}  // namespace

ModelConfig smallest_config(Arch arch, int64_t max_seq_len) {
  ModelConfig config;
  config.arch = arch;
  config.vocab_size = 256;
  config.dim = 2;
  config.mlp_dim = 1;
  config.n_encoder_layers = config.n_decoder_layers = 1;
  config.max_seq_len = max_seq_len;
  config.bos_id = 1;
  config.eos_id = 2;
  config.sentinel_start = 6;
  return config;
}

std::unique_ptr<Model> smallest_model(const ModelConfig& config) {
  return make_model(config, Precision::float32(), ParameterStore::Gradients::none, "golden case");
}

// Wilson and Hilferty 1931.
double chi_square_bound(double k) {
  double a = 2 / (9 * k);
  return k * std::pow(1 - a + kQuantile * std::sqrt(a), 3);
}

std::vector<std::vector<int32_t>> drawn_boundaries(const ModelConfig& config, int64_t length, int64_t draws) {
  std::unique_ptr<Model> model = smallest_model(config);
  std::vector<std::vector<int32_t>> all;
  for (int64_t i = 0; i < draws; ++i) {
    Batch batch;
    batch.rows = 1;
    batch.length = length;
    Rng rng(kSeed, static_cast<uint64_t>(i));
    model->prepare(batch, rng);
    all.push_back(std::move(batch.boundaries));
  }
  return all;
}

void check_boundary_statistics(ParityCollector& out, const std::filesystem::path& file) {
  Json json = read_json(file);
  std::string where = file.string();
  int64_t length = json_int(json, "L", where), draws = json_int(json, "draws", where);
  for (const auto& [name, recorded] : json.items()) {
    if (recorded.is_object()) check_strategy(out, name, recorded, length, draws, where);
  }
}

void check_span_statistics(ParityCollector& out, const std::filesystem::path& file) {
  Json json = read_json(file);
  std::string where = file.string();
  int64_t length = json_int(json, "L", where), draws = json_int(json, "draws", where);
  for (const char* name : {"plain", "packed"}) {
    check_spans(out, name, json_at(json, name, where), length, draws, where);
  }
}

}  // namespace tandem
