#include "usage.h"

#include <limits>
#include <string>
#include <vector>

#include "base/edit_distance.h"

namespace tandem::app {
namespace {

// The verb whose command line it is: "tandem tokenizer train".
const CLI::App* deepest(const CLI::App& app, std::string& command) {
  const CLI::App* at = &app;
  command = "tandem";
  while (!at->get_subcommands().empty()) {
    at = at->get_subcommands().front();
    command += " " + at->get_name();
  }
  return at;
}

std::vector<std::string> option_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

std::vector<std::string> verb_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; })) {
    names.push_back(verb->get_name());
  }
  return names;
}

// "did you mean 'generate'?", or where to look when nothing is near.
std::string hint(const std::string& given, const std::vector<std::string>& known, const std::string& command) {
  std::string best;
  size_t best_distance = std::numeric_limits<size_t>::max();
  for (const std::string& name : known) {
    size_t distance = edit_distance(given, name);
    if (distance < best_distance) {
      best_distance = distance;
      best = name;
    }
  }
  if (best_distance <= 1 + given.size() / 3) return "did you mean '" + best + "'?";
  return "see '" + command + " --help'";
}

}  // namespace

InputError usage_error(const CLI::App& app, const CLI::ParseError& error) {
  std::string command;
  const CLI::App* at = deepest(app, command);
  std::vector<std::string> left = app.remaining(true);
  std::vector<std::string> verbs = verb_names(*at);
  if (!left.empty()) {
    std::string given = left.front().substr(0, left.front().find('='));
    if (given.starts_with("-")) {
      return InputError({.what = "unknown option",
                         .where = command,
                         .got = "'" + given + "'",
                         .hint = hint(given, option_names(*at), command)});
    }
    if (!verbs.empty()) {
      return InputError(
          {.what = "unknown verb", .where = command, .got = "'" + given + "'", .hint = hint(given, verbs, command)});
    }
    return InputError({.what = "argument too many",
                       .where = command,
                       .got = "'" + left.front() + "'",
                       .hint = "see '" + command + " --help'"});
  }
  if (!verbs.empty() && at->get_subcommands().empty()) {
    std::string list;
    for (const std::string& verb : verbs) list += (list.empty() ? "" : ", ") + verb;
    return InputError(
        {.what = "no verb given", .where = command, .expected = list, .hint = "see '" + command + " --help'"});
  }
  return InputError({.what = error.what(), .where = command, .hint = "see '" + command + " --help'"});
}

}  // namespace tandem::app
