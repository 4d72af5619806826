#include "key_reader.h"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>

#include "interrupt.h"
#include "text/unicode.h"

namespace tandem::app {
namespace {

constexpr char kEscape = '\x1b';
constexpr int kSameKeyMs = 50;  // between the bytes of one key, also over a slow line
constexpr int kLookMs = 200;    // for a signal that came just before the wait began

volatile std::sig_atomic_t g_resized = 0;
struct sigaction g_before_resize;
struct sigaction g_before_continue;

void note_resize(int) { g_resized = 1; }

bool readable(int milliseconds) {
  pollfd input{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
  return ::poll(&input, 1, milliseconds) > 0;
}

}  // namespace

WindowSignals::WindowSignals() {
  struct sigaction action = {};
  action.sa_handler = note_resize;
  sigemptyset(&action.sa_mask);
  sigaction(SIGWINCH, &action, &g_before_resize);
  sigaction(SIGCONT, &action, &g_before_continue);
}

WindowSignals::~WindowSignals() {
  sigaction(SIGWINCH, &g_before_resize, nullptr);
  sigaction(SIGCONT, &g_before_continue, nullptr);
}

KeyReader::Status KeyReader::next(const EditedLine& line, uint32_t& key) {
  while (waiting_.empty()) {
    char byte = 0;
    Status status = read_byte(byte);
    if (status != Status::key) return status;
    on_byte(byte, line);
  }
  key = waiting_.front();
  waiting_.pop_front();
  return Status::key;
}

void KeyReader::forget() {
  waiting_.clear();
  pasting_ = false;
}

KeyReader::Status KeyReader::read_byte(char& byte) {
  while (true) {
    if (interrupted()) return Status::interrupted;
    if (g_resized) {
      g_resized = 0;
      return Status::resized;
    }
    if (!readable(kLookMs)) continue;
    ssize_t got = ::read(STDIN_FILENO, &byte, 1);
    if (got == 1) return Status::key;
    if (got == 0 || (errno != EINTR && errno != EAGAIN)) return Status::end;
  }
}

bool KeyReader::read_more(char& byte) { return readable(kSameKeyMs) && ::read(STDIN_FILENO, &byte, 1) == 1; }

void KeyReader::on_byte(char byte, const EditedLine& line) {
  if (byte == kEscape) return on_escape(line);
  if (static_cast<unsigned char>(byte) >= 0x80) return on_character(byte);
  if (pasting_) return on_pasted(byte);
  bool enter = byte == '\n' || byte == '\r';
  if (enter && line.right.empty() && line.left.ends_with('\\')) {
    hand_out(keys::erase_left);
    hand_out(keys::new_line);
  } else {
    waiting_.push_back(static_cast<unsigned char>(byte));
  }
}

// Pasted text is text: no control character in it is a command.
void KeyReader::on_pasted(char byte) {
  if (byte == '\n' || byte == '\r') return hand_out(keys::new_line);
  if (byte == '\t') hand_out(keys::literally);
  if (byte == '\t' || static_cast<unsigned char>(byte) >= 0x20) waiting_.push_back(static_cast<unsigned char>(byte));
}

void KeyReader::on_escape(const EditedLine& line) {
  char byte = 0;
  if (!read_more(byte)) {
    if (!pasting_) waiting_.push_back(kEscape);
    return;
  }
  if (byte != '[' && byte != 'O') {
    if (pasting_) return on_byte(byte, line);
    if (byte == '\r') byte = '\n';  // Alt-Enter
    waiting_.push_back(kEscape);
    return static_cast<unsigned char>(byte) < 0x80 ? waiting_.push_back(static_cast<unsigned char>(byte))
                                                   : on_character(byte);
  }
  std::string sequence{byte};
  bool ended = false;
  while (!ended && sequence.size() < 32 && read_more(byte)) {
    sequence += byte;
    ended = byte >= 0x40 && byte <= 0x7e;
  }
  on_sequence(sequence, line);
}

// Behind the escape character. Keys that nobody knows do nothing.
void KeyReader::on_sequence(std::string_view sequence, const EditedLine& line) {
  if (sequence == "[200~") pasting_ = true;
  if (sequence == "[201~") pasting_ = false;
  if (pasting_) return;
  if (sequence[0] == 'O') sequence.remove_prefix(1);  // arrows of a terminal in application mode: the last letter
  if (sequence[0] == '[') sequence.remove_prefix(1);
  struct Key {
    std::string_view sent;
    std::string_view meant;
  };
  bool above = line.left.find('\n') != std::string_view::npos, below = line.right.find('\n') != std::string_view::npos;
  const std::array<Key, 25> known{{{"A", above ? keys::line_above : keys::earlier},
                                   {"B", below ? keys::line_below : keys::later},
                                   {"C", keys::right},
                                   {"D", keys::left},
                                   {"H", keys::begin},
                                   {"F", keys::end},
                                   {"1~", keys::begin},
                                   {"7~", keys::begin},
                                   {"4~", keys::end},
                                   {"8~", keys::end},
                                   {"3~", line.right.empty() ? std::string_view{} : keys::erase_right},
                                   {"1;5C", keys::word_right},
                                   {"1;3C", keys::word_right},
                                   {"1;5D", keys::word_left},
                                   {"1;3D", keys::word_left},
                                   {"1;5A", keys::earlier},
                                   {"1;3A", keys::earlier},
                                   {"1;5B", keys::later},
                                   {"1;3B", keys::later},
                                   // Shift, Alt and Ctrl with Enter, where a terminal tells them apart.
                                   {"13;2u", keys::new_line},
                                   {"13;3u", keys::new_line},
                                   {"13;5u", keys::new_line},
                                   {"27;2;13~", keys::new_line},
                                   {"27;3;13~", keys::new_line},
                                   {"27;5;13~", keys::new_line}}};
  for (const Key& key : known) {
    if (key.sent == sequence) hand_out(key.meant);
  }
}

void KeyReader::on_character(char first) {
  Utf8Repair repair;
  std::string text, bytes{first};
  char byte = 0;
  while (may_begin_character(bytes) && read_more(byte)) bytes += byte;
  repair.push(bytes, text);
  repair.finish(text);
  hand_out(text);
}

void KeyReader::hand_out(std::string_view characters) {
  for (size_t at = 0; at < characters.size();) waiting_.push_back(next_code_point(characters, at));
}

}  // namespace tandem::app
