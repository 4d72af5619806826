// tandem: one program, one verb per job.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>

#include "base/error.h"
#include "verbs.h"

int main(int argc, char** argv) {
  CLI::App app{"Train, evaluate and serve language models that split reading from writing."};
  app.require_subcommand(1);
  tandem::app::Action action;
  try {
    app.parse(argc, argv);
    return action ? action() : 2;
  } catch (const CLI::ParseError& e) {
    int code = app.exit(e);
    return code == 0 ? 0 : 2;
  } catch (const tandem::InputError& e) {
    fmt::print(stderr, "tandem: {}\n", e.what());
    return 2;
  } catch (const std::exception& e) {
    fmt::print(stderr, "tandem: {}\n", e.what());
    return 1;
  }
}
