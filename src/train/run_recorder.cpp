#include "train/run_recorder.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"

namespace tandem {
namespace fs = std::filesystem;
namespace {

// The lines up to and including those of `last_step`.
std::string_view lines_until(std::string_view text, int64_t last_step) {
  size_t kept = 0;
  while (kept < text.size()) {
    size_t end = text.find('\n', kept);
    if (end == std::string_view::npos) break;
    Json json = Json::parse(text.substr(kept, end - kept), nullptr, /*allow_exceptions=*/false);
    bool good = json.is_object() && json.contains("step") && json["step"].is_number_integer();
    if (!good || json["step"].get<int64_t>() > last_step) break;
    kept = end + 1;
  }
  return text.substr(0, kept);
}

// The checkpoint knows how long the log was. A log that was shortened or changed since then keeps the lines that belong
// before the step.
std::string_view kept_text(std::string_view text, const RunRecorder::Place& place) {
  auto bytes = static_cast<size_t>(place.log_bytes);
  bool fits = bytes <= text.size() && (bytes == 0 || text[bytes - 1] == '\n');
  return fits ? text.substr(0, bytes) : lines_until(text, place.step);
}

std::string tag_of(const std::string& key) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 14> kTags{{
      {"loss", "train/loss"},
      {"learning_rate", "train/learning_rate"},
      {"grad_norm", "train/grad_norm"},
      {"tokens_per_second", "train/tokens_per_second"},
      {"tokens", ""},   // follow from the step
      {"seconds", ""},  // TensorBoard has the wall time
      {"heldout_loss", "heldout/loss"},
      {"heldout_bits_per_byte", "heldout/bits_per_byte"},
      {"heldout_accuracy", "heldout/accuracy"},
      {"skipped", "guard/skipped"},
      {"outlier_grad_norm", "guard/outlier_grad_norm"},
      {"median_grad_norm", "guard/median_grad_norm"},
      {"reason", "guard/rollback"},
      {"rollback_to", "guard/rollback_to"},
  }};
  for (const auto& [known, tag] : kTags) {
    if (known == key) return std::string(tag);
  }
  return key;
}

}  // namespace

RunRecorder::RunRecorder(const fs::path& log, const fs::path& events, const Place& place) : log_(log) {
  if (fs::exists(log)) {
    std::string text = read_file(log);
    std::string_view kept = kept_text(text, place);
    log_bytes_ = static_cast<int64_t>(kept.size());
    if (kept.size() != text.size()) write_file_atomically(log, kept);
  }
  fd_ = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd_ < 0) throw JobError({.what = "cannot open the log", .where = log.string(), .got = std::strerror(errno)});
  if (!events.empty()) events_.emplace(events, place.step + 1);
}

RunRecorder::~RunRecorder() {
  if (fd_ >= 0) ::close(fd_);
}

void RunRecorder::append(const std::string& text) {
  std::string_view left = text;
  while (!left.empty()) {
    ssize_t n = ::write(fd_, left.data(), left.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) throw JobError({.what = "cannot write the log", .where = log_.string(), .got = std::strerror(errno)});
    left.remove_prefix(static_cast<size_t>(n));
    log_bytes_ += n;
  }
}

void RunRecorder::write_events(const OrderedJson& line) {
  if (!events_) return;
  auto step = line.at("step").get<int64_t>();
  for (const auto& [key, value] : line.items()) {
    std::string tag = key == "step" ? "" : tag_of(key);
    if (tag.empty()) continue;
    if (value.is_number()) events_->scalar(step, tag, value.get<double>());
    if (value.is_string()) events_->text(step, tag, value.get<std::string>());
  }
}

void RunRecorder::write(const OrderedJson& line) {
  append(line.dump(-1, ' ', false, OrderedJson::error_handler_t::replace) + "\n");
  write_events(line);
}

void RunRecorder::write_rollback(const OrderedJson& line, int64_t step) {
  append(line.dump(-1, ' ', false, OrderedJson::error_handler_t::replace) + "\n");
  if (events_) events_->restart(step + 1);
  // At the step that the run goes back to: what stands behind it is forgotten by readers.
  OrderedJson there = line;
  there["step"] = step;
  write_events(there);
}

void RunRecorder::sync() {
  sync_path(log_);
  if (events_) sync_path(events_->path());
}

}  // namespace tandem
