#include "train/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "base/clock.h"

namespace tandem {
namespace {

constexpr double kSecondsBetweenDraws = 0.1;
constexpr double kSecondsBetweenLines = 5;
constexpr int kBarCells = 24;

size_t terminal_columns() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

std::string with_thousands(double value) {
  std::string digits = fmt::format("{:.0f}", value);
  for (int at = static_cast<int>(digits.size()) - 3; at > 0; at -= 3) digits.insert(static_cast<size_t>(at), ",");
  return digits;
}

std::string bar(double fraction) {
  int full = static_cast<int>(std::clamp(fraction, 0.0, 1.0) * kBarCells);
  return "[" + std::string(static_cast<size_t>(full), '=') + std::string(static_cast<size_t>(kBarCells - full), ' ') +
         "] ";
}

}  // namespace

std::string clock_text(double seconds) {
  auto whole = static_cast<int64_t>(std::llround(std::max(0.0, seconds)));
  int64_t hours = whole / 3600, minutes = whole / 60 % 60;
  if (hours > 0) return fmt::format("{}:{:02}:{:02}", hours, minutes, whole % 60);
  return fmt::format("{}:{:02}", minutes, whole % 60);
}

std::string progress_line(const TrainProgress& p) {
  std::string line =
      p.total_steps > 0 ? fmt::format("step {}/{}", p.step, p.total_steps) : fmt::format("step {}", p.step);
  line += fmt::format("  {:.0f}%  {} left  loss {:.3f}  {} tokens/s  lr {:.2e}  norm {:.2f}", 100 * p.fraction,
                      clock_text(p.seconds_left), p.loss, with_thousands(p.tokens_per_second), p.learning_rate,
                      p.grad_norm);
  if (p.skipped > 0) line += fmt::format("  skipped {}", p.skipped);
  if (p.rollbacks > 0) line += fmt::format("  went back {}", p.rollbacks);
  return line;
}

ProgressDisplay::ProgressDisplay() : terminal_(::isatty(STDERR_FILENO) == 1) {}

ProgressDisplay::~ProgressDisplay() { clear(); }

void ProgressDisplay::clear() {
  if (bar_shown_) fmt::print(stderr, "\r\x1b[K");
  bar_shown_ = false;
}

void ProgressDisplay::show(const TrainProgress& progress) {
  bool last = progress.total_steps > 0 && progress.step == progress.total_steps;
  double now = seconds_now(), pause = terminal_ ? kSecondsBetweenDraws : kSecondsBetweenLines;
  if (now - last_ < pause && !last) return;
  last_ = now;
  std::string line = progress_line(progress);
  if (!terminal_) {
    fmt::print(stderr, "{}\n", line);
    return;
  }
  line = bar(progress.fraction) + line;
  fmt::print(stderr, "\r{}\x1b[K", line.substr(0, terminal_columns() - 1));
  bar_shown_ = true;
}

void ProgressDisplay::say(const std::string& line) {
  clear();
  fmt::print(stderr, "{}\n", line);
}

}  // namespace tandem
