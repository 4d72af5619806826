#include "line_editor.h"

#include <histedit.h>
#include <langinfo.h>
#include <termios.h>
#include <unistd.h>

#include <clocale>
#include <cstdio>
#include <new>
#include <string_view>

#include "key_reader.h"

namespace tandem::app {
namespace {

constexpr int kRemembered = 1000;  // turns in the history

// libedit measures and encodes characters by the locale; without one for UTF-8, by the C library's own.
void use_utf8() {
  std::setlocale(LC_CTYPE, "");
  if (std::string_view(nl_langinfo(CODESET)) != "UTF-8") std::setlocale(LC_CTYPE, "C.UTF-8");
}

char* prompt(EditLine*) {
  static char text[] = "> ";
  return text;
}

unsigned char insert_line_break(EditLine* edit, int) { return el_insertstr(edit, "\n") == 0 ? CC_REFRESH : CC_ERROR; }

// A terminal that supports it then tells pasted text from typed text.
void bracket_pastes(bool on) {
  std::fputs(on ? "\x1b[?2004h" : "\x1b[?2004l", stdout);
  std::fflush(stdout);
}

// Between two turns the terminal hands on what is typed as it is and shows nothing of it; Ctrl-C stays a signal. Left
// to itself it would edit what comes before the next prompt, byte by byte, and mix it with the answer. (libedit shows
// its prompt before it changes the terminal, so even what is typed at the prompt may come too early.)
class QuietTerminal {
 public:
  QuietTerminal() : known_(tcgetattr(STDIN_FILENO, &before_) == 0) { quiet(); }
  QuietTerminal(const QuietTerminal&) = delete;
  QuietTerminal& operator=(const QuietTerminal&) = delete;
  ~QuietTerminal() {
    if (known_) tcsetattr(STDIN_FILENO, TCSADRAIN, &before_);
  }
  void quiet() const {
    if (!known_) return;
    termios mode = before_;
    mode.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO | IEXTEN);
    mode.c_cc[VMIN] = 1;
    mode.c_cc[VTIME] = 0;
    tcsetattr(STDIN_FILENO, TCSADRAIN, &mode);
  }

 private:
  termios before_ = {};
  bool known_;
};

}  // namespace

struct LineEditor::Parts {
  QuietTerminal terminal;  // set right again when the editor has gone
  EditLine* edit = nullptr;
  History* history = nullptr;
  KeyReader keys;
  Typed ended = Typed::end;  // why the last reading ended without a turn

  Parts();
  Parts(const Parts&) = delete;
  Parts& operator=(const Parts&) = delete;
  ~Parts() {
    if (edit) el_end(edit);
    if (history) history_end(history);
  }
  void bind(const char* key, const char* command) { el_set(edit, EL_BIND, key, command, nullptr); }
  int read(wchar_t& character);
  static int read(EditLine* edit, wchar_t* character) {
    void* parts = nullptr;
    el_get(edit, EL_CLIENTDATA, &parts);
    return static_cast<Parts*>(parts)->read(*character);
  }
};

LineEditor::Parts::Parts() {
  use_utf8();
  edit = el_init("tandem", stdin, stdout, stderr);
  history = history_init();
  if (!edit || !history) throw std::bad_alloc();
  HistEvent event;
  ::history(history, &event, H_SETSIZE, kRemembered);
  ::history(history, &event, H_SETUNIQUE, 1);
  el_set(edit, EL_CLIENTDATA, this);
  el_set(edit, EL_PROMPT, &prompt);
  el_set(edit, EL_EDITOR, "emacs");
  el_set(edit, EL_SIGNAL, 0);
  el_set(edit, EL_HIST, &::history, history);
  el_set(edit, EL_GETCFN, static_cast<int (*)(EditLine*, wchar_t*)>(&Parts::read));
  el_set(edit, EL_ADDFN, "line-break", "Insert a line break", &insert_line_break);
  bind("\x1b\n", "line-break");
  bind("\x1bp", "ed-prev-line");
  bind("\x1bn", "ed-next-line");
  bind("^R", "em-inc-search-prev");
}

// 1: a character; 0: the end; -1: something else, which `ended` tells.
int LineEditor::Parts::read(wchar_t& character) {
  while (true) {
    const LineInfo* info = el_line(edit);
    EditedLine line{{info->buffer, info->cursor}, {info->cursor, info->lastchar}};
    uint32_t key = 0;
    switch (keys.next(line, key)) {
      case KeyReader::Status::key: character = static_cast<wchar_t>(key); return 1;
      case KeyReader::Status::end: ended = Typed::end; return 0;
      case KeyReader::Status::interrupted: ended = Typed::interrupted; return -1;
      case KeyReader::Status::resized:
        el_set(edit, EL_PREP_TERM, 1);  // it may have been stopped and gone on
        el_resize(edit);
        el_set(edit, EL_REFRESH);
        break;
    }
  }
}

LineEditor::LineEditor(const std::filesystem::path& history) : parts_(std::make_unique<Parts>()), history_(history) {
  HistEvent event;
  if (!history_.empty()) ::history(parts_->history, &event, H_LOAD, history_.c_str());
}

LineEditor::~LineEditor() = default;

Typed LineEditor::read(std::string& turn) {
  int length = 0;
  parts_->ended = Typed::end;
  parts_->keys.forget();
  const char* text = nullptr;
  {
    WindowSignals signals;
    parts_->terminal.quiet();
    bracket_pastes(true);
    text = el_gets(parts_->edit, &length);
    parts_->terminal.quiet();  // el_gets() has left it editing and showing lines
    bracket_pastes(false);
  }
  if (!text || length <= 0) {
    std::fputs(parts_->ended == Typed::interrupted ? "^C\n" : "\n", stdout);
    std::fflush(stdout);
    return parts_->ended;
  }
  turn.assign(text, static_cast<size_t>(length));
  if (turn.ends_with('\n')) turn.pop_back();
  remember(turn);
  return Typed::turn;
}

// At once, so that a conversation that is killed has it too. Aside and renamed: two conversations at a time lose turns
// of one of them, never the file.
void LineEditor::remember(const std::string& turn) {
  if (turn.empty()) return;
  HistEvent event;
  ::history(parts_->history, &event, H_ENTER, turn.c_str());
  if (history_.empty()) return;
  std::error_code error;
  std::filesystem::create_directories(history_.parent_path(), error);
  std::filesystem::path aside = history_;
  aside += ".new";
  if (::history(parts_->history, &event, H_SAVE, aside.c_str()) < 0) return;
  std::filesystem::rename(aside, history_, error);
}

}  // namespace tandem::app
