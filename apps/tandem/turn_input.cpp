#include "turn_input.h"

#include <unistd.h>

#include <cstdlib>
#include <iostream>

#include "interrupt.h"
#include "line_editor.h"

namespace tandem::app {
namespace {

class Lines final : public TurnInput {
 public:
  Typed read(std::string& turn) override {
    turn.clear();
    first_ = line_ + 1;
    std::string line;
    while (std::getline(std::cin, line)) {
      ++line_;
      if (line.ends_with('\r')) line.pop_back();
      bool goes_on = line.ends_with('\\');
      if (goes_on) line.back() = '\n';
      turn += line;
      if (!goes_on) return Typed::turn;
    }
    if (interrupted()) return Typed::interrupted;
    return turn.empty() ? Typed::end : Typed::turn;
  }
  bool terminal() const override { return false; }
  std::string where() const override { return "standard input, line " + std::to_string(first_); }

 private:
  int64_t first_ = 1;
  int64_t line_ = 0;
};

}  // namespace

std::unique_ptr<TurnInput> open_turn_input(const std::filesystem::path& history) {
  if (::isatty(STDIN_FILENO) && ::isatty(STDOUT_FILENO)) return std::make_unique<LineEditor>(history);
  return std::make_unique<Lines>();
}

std::filesystem::path state_file(const std::string& name) {
  // A relative path in the variable is to be ignored (XDG base directory specification).
  const char* state = std::getenv("XDG_STATE_HOME");
  if (state && state[0] == '/') return std::filesystem::path(state) / "tandem" / name;
  const char* home = std::getenv("HOME");
  if (home && home[0] == '/') return std::filesystem::path(home) / ".local/state/tandem" / name;
  return {};
}

}  // namespace tandem::app
