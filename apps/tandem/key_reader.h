// Keys of a terminal, one character at a time, in the few forms that the line editor knows.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

namespace tandem::app {

// What the editor does at a key that terminals send as several characters, or that needs a look at the line.
namespace keys {
inline constexpr std::string_view new_line = "\x1b\n";  // a line break in the text
inline constexpr std::string_view line_above = "\x1bp";
inline constexpr std::string_view line_below = "\x1bn";
inline constexpr std::string_view earlier = "\x10";  // Ctrl-P, Ctrl-N: in the history
inline constexpr std::string_view later = "\x0e";
inline constexpr std::string_view left = "\x02";
inline constexpr std::string_view right = "\x06";
inline constexpr std::string_view word_left =
    "\x1b"
    "b";
inline constexpr std::string_view word_right =
    "\x1b"
    "f";
inline constexpr std::string_view begin = "\x01";
inline constexpr std::string_view end = "\x05";
inline constexpr std::string_view erase_left = "\x7f";
inline constexpr std::string_view erase_right = "\x04";  // Ctrl-D: in an empty line it ends the input
inline constexpr std::string_view literally = "\x16";    // Ctrl-V
}  // namespace keys

// The line as it stands: what is left and right of the cursor, UTF-8.
struct EditedLine {
  std::string_view left;
  std::string_view right;
};

class KeyReader {
 public:
  enum class Status { key, end, interrupted, resized };

  // The next code point for the editor; waits for it. `line`: as it is now.
  Status next(const EditedLine& line, uint32_t& key);
  void forget();  // what was read and not handed out yet

 private:
  Status read_byte(char& byte);  // waits
  bool read_more(char& byte);    // of the same key
  void on_byte(char byte, const EditedLine& line);
  void on_pasted(char byte);
  void on_escape(const EditedLine& line);
  void on_sequence(std::string_view sequence, const EditedLine& line);
  void on_character(char first);
  void hand_out(std::string_view characters);

  std::deque<uint32_t> waiting_;
  bool pasting_ = false;  // between the marks of a bracketed paste
};

// While one lives, a signal that the window has another size, or that the program goes on after a stop, wakes the
// reader.
class WindowSignals {
 public:
  WindowSignals();
  WindowSignals(const WindowSignals&) = delete;
  WindowSignals& operator=(const WindowSignals&) = delete;
  ~WindowSignals();
};

}  // namespace tandem::app
