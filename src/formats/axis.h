// Axes of charts: ranges, round tick values and their labels.
#pragma once

#include <string>
#include <vector>

namespace tandem {

enum class Scale { linear, logarithmic };

struct Tick {
  double value = 0;
  std::string label;  // empty: a minor tick
};

struct Axis {
  Scale scale = Scale::linear;
  double low = 0;
  double high = 1;
  std::vector<Tick> ticks;  // ascending, within [low, high]

  // Where a value lies: 0 at `low`, 1 at `high`.
  double position(double value) const;
};

// An axis over [low, high] with at most about `wanted` labelled ticks. An empty range is widened around its value; a
// logarithmic axis needs low > 0, and all values lie within +-1e100. Linear ticks are 1, 2, 2.5 or 5 times a power of
// ten apart; logarithmic ones stand at decades, or at 1, 2 and 5 of each when there are few.
Axis make_axis(Scale scale, double low, double high, int wanted);

// For tables: four significant digits, with k, M, G, T from 10,000 on and e-notation below 0.001; "-" when not finite.
std::string short_number(double value);

}  // namespace tandem
