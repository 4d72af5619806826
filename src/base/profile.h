// Where the time of a step goes: named scopes that add up seconds, floating-point operations and bytes moved.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/clock.h"

namespace tandem {

struct ProfileEntry {
  std::string_view name;  // a string literal
  double seconds = 0;
  double flops = 0;
  double bytes = 0;
  int64_t calls = 0;
};

// One scope.
struct ProfileEvent {
  std::string_view name;
  double start = 0;  // seconds_now()
  double seconds = 0;
  double flops = 0;
  double bytes = 0;
};

// Off by default. When on, entries are created at a name's first use and only added to afterwards. Scopes are opened
// by the thread that drives the step, never inside a parallel region.
class Profiler {
 public:
  void enable(bool on) { enabled_ = on; }
  bool enabled() const { return enabled_; }
  void keep_events(bool on) { keeps_events_ = on; }  // beside the entries
  void clear() {
    entries_.clear();
    events_.clear();
  }
  const std::vector<ProfileEntry>& entries() const { return entries_; }
  const std::vector<ProfileEvent>& events() const { return events_; }  // in the order of their ends

  void add(std::string_view name, double start, double seconds, double flops, double bytes) {
    if (keeps_events_) events_.push_back({name, start, seconds, flops, bytes});
    for (ProfileEntry& entry : entries_) {
      if (entry.name == name) {
        entry.seconds += seconds;
        entry.flops += flops;
        entry.bytes += bytes;
        ++entry.calls;
        return;
      }
    }
    entries_.push_back({name, seconds, flops, bytes, 1});
  }

 private:
  bool enabled_ = false;
  bool keeps_events_ = false;
  std::vector<ProfileEvent> events_;
  std::vector<ProfileEntry> entries_;
};

class ProfileScope {
 public:
  ProfileScope(Profiler& profiler, std::string_view name, double flops = 0, double bytes = 0)
      : profiler_(profiler),
        name_(name),
        flops_(flops),
        bytes_(bytes),
        start_(profiler.enabled() ? seconds_now() : 0) {}
  ProfileScope(const ProfileScope&) = delete;
  ProfileScope& operator=(const ProfileScope&) = delete;
  ~ProfileScope() {
    if (profiler_.enabled()) profiler_.add(name_, start_, seconds_now() - start_, flops_, bytes_);
  }

 private:
  Profiler& profiler_;
  std::string_view name_;
  double flops_;
  double bytes_;
  double start_;
};

}  // namespace tandem
