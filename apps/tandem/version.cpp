#include "version.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"
#include "commit.h"
#include "dist/launch.h"
#include "kernels/isa.h"
#include "kernels/matrix_library.h"

namespace tandem::app {
namespace {

std::string isa_text() {
  try {
    return std::string(isa_name(choose_isa()));
  } catch (const InputError& e) {
    return fmt::format("none ({})", e.what());
  }
}

}  // namespace

std::string version_text() {
  std::string text = fmt::format("tandem {}\n", TANDEM_VERSION);
  text += fmt::format("commit: {}\n", kCommit);
  text += fmt::format("compiler: g++ {}\n", __VERSION__);
  text += fmt::format("instruction set: {}\n", isa_text());
  text += fmt::format("matrix products: {}\n", kernels::matrix_library());
  if (std::string mpi = mpi_library(); !mpi.empty()) text += fmt::format("MPI: {}\n", mpi);
  text += fmt::format("fmt: {}.{}.{}\n", FMT_VERSION / 10000, FMT_VERSION / 100 % 100, FMT_VERSION % 100);
  text += fmt::format("nlohmann-json: {}.{}.{}\n", NLOHMANN_JSON_VERSION_MAJOR, NLOHMANN_JSON_VERSION_MINOR,
                      NLOHMANN_JSON_VERSION_PATCH);
  text += fmt::format("CLI11: {}\n", CLI11_VERSION);
  return text;
}

}  // namespace tandem::app
