// Stop strings in text that arrives piece by piece.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tandem {

// push() returns the text that can no longer become part of a stop string; finish() the rest. Neither returns a stop
// string or what follows it. Where two begin at different places the earlier one ends the text, wherever the borders of
// the pieces are.
class StopStrings {
 public:
  // Empty strings are an InputError.
  explicit StopStrings(std::vector<std::string> stops);

  std::string push(std::string_view piece);
  std::string finish();
  bool found() const { return found_; }

 private:
  std::vector<std::string> stops_;
  std::string pending_;  // may be the beginning of a stop string
  bool found_ = false;
};

}  // namespace tandem
