// A pass that takes the memory that it would take, and computes nothing.
#pragma once

namespace tandem {

// While one lives, loops that its thread hands to a ThreadPool do nothing. What they would have computed is whatever
// the memory held: results of such a pass mean nothing.
class DryRun {
 public:
  DryRun();
  DryRun(const DryRun&) = delete;
  DryRun& operator=(const DryRun&) = delete;
  ~DryRun();

 private:
  bool outer_;
};

}  // namespace tandem
