#include "formats/axis.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace tandem {
namespace {

struct Unit {
  double size = 1;
  std::string suffix;
};

// The unit in which numbers of this magnitude read well.
Unit unit_for(double magnitude) {
  if (magnitude >= 1e4) {
    constexpr std::array<const char*, 5> kSuffixes{"k", "M", "G", "T", "P"};
    int power = std::clamp(static_cast<int>(std::floor(std::log10(magnitude) / 3 + 1e-9)), 1, 5);
    return {std::pow(1e3, power), kSuffixes[static_cast<size_t>(power - 1)]};
  }
  if (magnitude > 0 && magnitude < 1e-3 * (1 - 1e-9)) {
    int exponent = static_cast<int>(std::floor(std::log10(magnitude) + 1e-9));
    return {std::pow(10.0, exponent), fmt::format("e{}", exponent)};
  }
  return {};
}

std::string without_trailing_zeros(std::string text) {
  if (text.find('.') == std::string::npos) return text;
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text;
}

// Decimals that show a multiple of `step` in full.
int decimals_for(double step) {
  constexpr int kMost = 12;  // ranges are at least a billionth of their values (make_axis)
  for (int d = 0; d < kMost; ++d) {
    double scaled = step * std::pow(10.0, d);
    if (std::fabs(scaled - std::round(scaled)) < 1e-6 * scaled) return d;
  }
  return kMost;
}

double round_step(double range, int wanted) {
  double rough = range / std::max(1, wanted);
  double power = std::pow(10.0, std::floor(std::log10(rough)));
  for (double m : {1.0, 2.0, 2.5, 5.0}) {
    if (m * power >= rough * (1 - 1e-9)) return m * power;
  }
  return 10 * power;
}

std::vector<Tick> linear_ticks(double low, double high, int wanted) {
  double step = round_step(high - low, wanted);
  Unit unit = unit_for(std::max(std::fabs(low), std::fabs(high)));
  int decimals = decimals_for(step / unit.size);
  std::vector<Tick> ticks;
  auto first = static_cast<int64_t>(std::ceil(low / step - 1e-9));
  auto last = static_cast<int64_t>(std::floor(high / step + 1e-9));
  for (int64_t i = first; i <= last; ++i) {
    double value = static_cast<double>(i) * step;
    ticks.push_back({value, i == 0 ? "0" : fmt::format("{:.{}f}{}", value / unit.size, decimals, unit.suffix)});
  }
  return ticks;
}

std::string log_label(double value) {
  Unit unit = unit_for(value);
  return without_trailing_zeros(fmt::format("{:.3f}", value / unit.size)) + unit.suffix;
}

std::vector<Tick> logarithmic_ticks(double low, double high, int wanted) {
  double decades = std::log10(high / low);
  if (decades < 0.7) return linear_ticks(low, high, wanted);
  bool fine = decades * 3 <= wanted + 1;  // room for 1, 2 and 5 of each decade
  int every = std::max(1, static_cast<int>(std::ceil(decades / wanted)));
  std::vector<Tick> ticks;
  for (int e = static_cast<int>(std::floor(std::log10(low))); e <= static_cast<int>(std::floor(std::log10(high)));
       ++e) {
    for (int m = 1; m <= 9; ++m) {
      double value = m * std::pow(10.0, e);
      if (value < low * (1 - 1e-9) || value > high * (1 + 1e-9)) continue;
      bool labelled = m == 1 ? e % every == 0 : fine && (m == 2 || m == 5);
      if (labelled || every == 1) ticks.push_back({value, labelled ? log_label(value) : ""});
    }
  }
  return ticks;
}

}  // namespace

double Axis::position(double value) const {
  if (scale == Scale::logarithmic) return std::log(value / low) / std::log(high / low);
  return (value - low) / (high - low);
}

Axis make_axis(Scale scale, double low, double high, int wanted) {
  // Fewer than nine digits apart: nothing to see between them, and ticks would print alike.
  double size = std::max(std::fabs(low), std::fabs(high));
  if (high - low <= std::max(1e-9 * size, 1e-100)) {
    double half = size > 1e-90 ? 0.05 * size : 0.5;
    low -= half;
    high += half;
  }
  Axis axis{.scale = scale, .low = low, .high = high};
  axis.ticks = scale == Scale::linear ? linear_ticks(low, high, wanted) : logarithmic_ticks(low, high, wanted);
  return axis;
}

std::string short_number(double value) {
  if (!std::isfinite(value)) return "-";
  if (value == 0) return "0";
  Unit unit = unit_for(std::fabs(value));
  double scaled = value / unit.size;
  int before = static_cast<int>(std::floor(std::log10(std::fabs(scaled)))) + 1;
  return without_trailing_zeros(fmt::format("{:.{}f}", scaled, std::clamp(4 - before, 0, 6))) + unit.suffix;
}

}  // namespace tandem
