// A turn typed at a terminal: several lines that can be edited as one text, with a history, through libedit.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "turn_input.h"

namespace tandem::app {

// Enter ends the turn; Alt-Enter, or Enter behind a backslash, begins another line of it, and so does a line break in
// pasted text. Up and Down move between the lines, and at the first and last one through the history; Ctrl-R searches
// it. The rest are the keys of Emacs.
class LineEditor final : public TurnInput {
 public:
  // Reads the history; a file that cannot be read or written is left alone.
  explicit LineEditor(const std::filesystem::path& history);
  ~LineEditor() override;

  Typed read(std::string& turn) override;
  bool terminal() const override { return true; }
  std::string where() const override { return ""; }

 private:
  void remember(const std::string& turn);

  struct Parts;  // libedit's
  std::unique_ptr<Parts> parts_;
  std::filesystem::path history_;
};

}  // namespace tandem::app
