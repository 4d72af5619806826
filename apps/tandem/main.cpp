// tandem: one program, one verb per job.
#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <exception>
#include <new>

#include "base/error.h"
#include "dist/launch.h"
#include "output.h"
#include "usage.h"
#include "verbs.h"
#include "version.h"

namespace tandem::app {
namespace {

constexpr int kFailed = 1;
constexpr int kBadInput = 2;

void add_verbs(CLI::App& app, Action& action) {
  add_bench_verb(app, action);
  add_convert_verb(app, action);
  add_data_verb(app, action);
  add_eval_verb(app, action);
  add_generate_verb(app, action);
  add_inspect_verb(app, action);
  add_plot_verb(app, action);
  add_quantize_verb(app, action);
  add_quickstart_verb(app, action);
  add_study_verb(app, action);
  add_tokenizer_verb(app, action);
  add_train_verb(app, action);
  add_verify_verb(app, action);
}

// The help of the verb that was asked about, or the version.
void print_about(const CLI::App& app, const CLI::Success& request) {
  if (dynamic_cast<const CLI::CallForVersion*>(&request)) return write_output(version_text());
  write_output(app.help());
}

int run(int argc, char** argv) {
  CLI::App app{"Train, evaluate and serve language models that split reading from writing.", "tandem"};
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string{}, "Version, commit, compiler, instruction set and libraries");
  Action action;
  add_verbs(app, action);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& request) {
    print_about(app, request);
    return 0;
  } catch (const CLI::ParseError& error) {
    // Processes that mpirun started have the same command line: one of them says what is wrong with it.
    if (launch().rank > 0) return kBadInput;
    throw usage_error(app, error);
  }
  int code = action ? action() : kBadInput;
  flush_output();
  return code;
}

int complain(int code, const char* what) {
  fmt::print(stderr, "tandem: {}\n", what);
  return code;
}

}  // namespace
}  // namespace tandem::app

int main(int argc, char** argv) {
  using namespace tandem::app;
  // A reader that goes away is an error of write(), not the end of the program.
  std::signal(SIGPIPE, SIG_IGN);
  // So is a file that may not grow any more (ulimit -f).
  std::signal(SIGXFSZ, SIG_IGN);
  try {
    return run(argc, argv);
  } catch (const OutputClosed&) {
    return kFailed;
  } catch (const tandem::InputError& e) {
    return complain(kBadInput, e.what());
  } catch (const std::bad_alloc&) {
    return complain(kFailed, "out of memory");
  } catch (const std::exception& e) {
    return complain(kFailed, e.what());
  }
}
