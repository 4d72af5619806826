// What a person says to a model, turn by turn: from an edited terminal, or from lines of standard input.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

namespace tandem::app {

enum class Typed {
  turn,
  interrupted,  // by Ctrl-C or SIGTERM
  end,          // of the input, or Ctrl-D
};

class TurnInput {
 public:
  virtual ~TurnInput() = default;

  // The next turn, UTF-8 or not. A line that ends in a backslash goes on in the next one, without the backslash.
  virtual Typed read(std::string& turn) = 0;
  virtual bool terminal() const = 0;
  // "standard input, line 3": where the last turn began.
  virtual std::string where() const = 0;
};

// An editor when standard input and standard output are a terminal, else plain lines. `history`: a file that keeps what
// was said from one conversation to the next; empty: none.
std::unique_ptr<TurnInput> open_turn_input(const std::filesystem::path& history);

// $XDG_STATE_HOME/tandem/NAME, or ~/.local/state/tandem/NAME; empty without a home folder.
std::filesystem::path state_file(const std::string& name);

}  // namespace tandem::app
