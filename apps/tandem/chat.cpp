#include "chat.h"

#include <algorithm>
#include <array>

#include "arch/config.h"
#include "base/error.h"
#include "base/log.h"
#include "interrupt.h"
#include "output.h"
#include "session.h"
#include "turn_input.h"

namespace tandem::app {
namespace {

struct Command {
  std::string_view name;
  std::string_view argument;  // empty: it takes none
  bool needs_argument;
  std::string_view help;
  void (*run)(Session& session, const std::string& argument);
};

void help(Session& session, const std::string& argument);

constexpr std::array<Command, 9> kCommands{{
    {"/help", "", false, "this list", help},
    {"/undo", "", false, "forgets the last turn and its answer", [](Session& s, const std::string&) { s.undo(); }},
    {"/regen", "", false, "writes the last answer again, drawn anew",
     [](Session& s, const std::string&) { s.answer_again(); }},
    {"/reset", "", false, "forgets everything that was said", [](Session& s, const std::string&) { s.reset(); }},
    {"/system", "TEXT", false, "sets the system message of a chat; without TEXT there is none",
     [](Session& s, const std::string& text) { s.set_system(text); }},
    {"/show", "", false, "everything that was said and written", [](Session& s, const std::string&) { s.show(); }},
    {"/save", "FILE", true, "keeps the conversation: JSON of its messages; of plain text, the text",
     [](Session& s, const std::string& file) { s.save(file); }},
    {"/load", "FILE", true, "goes on with a conversation that was kept",
     [](Session& s, const std::string& file) { s.load(file); }},
    {"/stats", "", false, "tokens read, found in the cache and written, and what the cache holds",
     [](Session& s, const std::string&) { s.show_statistics(); }},
}};

void help(Session& session, const std::string&) {
  std::string text;
  for (const Command& each : kCommands) {
    text += fmt::format("{:<14} {}\n", fmt::format("{} {}", each.name, each.argument), each.help);
  }
  text += fmt::format("{:<14} {}\n", "/quit", "leaves, as Ctrl-D does");
  text +=
      "A text that begins with / is typed with //. Alt-Enter, or a \\ at the end of a line, begins another line.\n"
      "Ctrl-C stops an answer. Up and Down bring back what was said before, Ctrl-R searches it.\n";
  session.print(text);
}

std::string without_blanks(const std::string& text) {
  size_t begin = text.find_first_not_of(' ');
  return begin == std::string::npos ? "" : text.substr(begin, text.find_last_not_of(' ') + 1 - begin);
}

void run_command(Session& session, const std::string& line) {
  size_t end = std::min(line.find(' '), line.size());
  std::string name = line.substr(0, end), argument = without_blanks(line.substr(end));
  for (const Command& each : kCommands) {
    if (each.name != name) continue;
    if (each.argument.empty() && !argument.empty()) {
      throw InputError({.what = fmt::format("'{}' takes nothing behind it", name), .got = "'" + argument + "'"});
    }
    if (each.needs_argument && argument.empty()) {
      throw InputError({.what = fmt::format("'{}' without its {}", name, each.argument)});
    }
    return each.run(session, argument);
  }
  throw InputError({.what = "unknown command",
                    .got = "'" + name + "'",
                    .hint = "/help lists them; a text that begins with / is typed with //"});
}

bool is_quit(const std::string& line) { return line == "/quit" || line == "/exit"; }

// A line of the person: a command, or text.
void take(Session& session, const std::string& turn) {
  bool slash = turn.starts_with('/');
  if (slash && !turn.starts_with("//") && turn.find('\n') == std::string::npos) return run_command(session, turn);
  // Nothing typed: a plain text goes on by itself.
  if (turn.empty() && (session.chat() || session.empty())) return;
  session.say(turn.starts_with("//") ? turn.substr(1) : turn);
}

void greet(const GenerateOptions& options, const LoadedModel& loaded) {
  const ModelConfig& config = loaded.model->config();
  note(fmt::format("{}: {}, rows of {} tokens. {}\n/help lists commands, Ctrl-C stops an answer, Ctrl-D leaves.",
                   options.model.model, arch_name(config.arch), config.max_seq_len,
                   options.chat ? "Say something." : "Write the beginning of a text; Enter alone lets it go on."));
}

// False: over.
bool take_turn(Session& session, TurnInput& input, const std::string& turn) {
  if (is_quit(turn)) return false;
  try {
    take(session, turn);
  } catch (const InputError& e) {
    if (!input.terminal()) throw InputError({.what = e.what(), .where = input.where()});
    log::info("{}", e.what());
  } catch (const JobError& e) {
    if (!input.terminal()) throw;
    log::info("{}", e.what());
  }
  return true;
}

// Ctrl-C ends a program that nobody types to; SIGTERM ends every one.
bool ends_program(const TurnInput& input) { return !input.terminal() || terminated(); }

int converse(Session& session, TurnInput& input) {
  std::string turn;
  while (true) {
    switch (input.read(turn)) {
      case Typed::end: return 0;
      case Typed::interrupted:
        if (ends_program(input)) return kInterruptedExit;
        note("Ctrl-D or /quit leaves");
        break;
      case Typed::turn:
        if (!take_turn(session, input, turn)) return 0;
        if (interrupted() && ends_program(input)) return kInterruptedExit;
        break;
    }
    forget_interrupt();
  }
}

}  // namespace

bool is_conversation(const GenerateOptions& options) {
  return options.interactive || (options.chat && !options.prompt && !options.json);
}

int run_conversation(const GenerateOptions& options, const ReadOptions& read) {
  if (options.top_log_probabilities) {
    throw InputError({.what = "--log-probabilities tells of one text", .hint = "leave --interactive out"});
  }
  Context ctx(options.model.threads);
  LoadedModel loaded = load(options.model, ctx);
  std::unique_ptr<TurnInput> input =
      open_turn_input(options.no_history ? "" : state_file(options.chat ? "chat_history" : "text_history"));
  Session session(ctx, loaded, options, options_for(loaded, read), input->terminal());
  InterruptScope interrupts(nullptr, InterruptScope::Again::noted);
  if (input->terminal()) greet(options, loaded);
  int code = 0;
  bool more = !options.prompt || take_turn(session, *input, *options.prompt);
  if (interrupted() && ends_program(*input)) {
    code = kInterruptedExit;
  } else if (more) {
    forget_interrupt();
    code = converse(session, *input);
  }
  if (options.json) write_json(session.json());
  return code;
}

}  // namespace tandem::app
