// Runs the targets over the inputs of a corpus, without a fuzzer: replay FOLDER, with one folder of files per target.
// A finding ends the program as it would end any other: by an exception or a signal.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "targets.h"

namespace tandem::fuzz {
namespace fs = std::filesystem;
namespace {

int replay(const fs::path& folder, const Target& target) {
  int inputs = 0;
  for (const auto& entry : fs::directory_iterator(folder / target.name)) {
    std::ifstream stream(entry.path(), std::ios::binary);
    std::string bytes{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
    std::printf("%s\n", entry.path().c_str());
    std::fflush(stdout);  // so that the last line names the input that ended the program
    target.run(bytes);
    ++inputs;
  }
  return inputs;
}

int run(const fs::path& folder) {
  int total = 0;
  for (const Target& target : kTargets) {
    int inputs = replay(folder, target);
    if (inputs == 0) {
      std::printf("%s: no inputs\n", target.name);
      return 1;
    }
    total += inputs;
  }
  std::printf("%d inputs of %zu targets\n", total, kTargets.size());
  return 0;
}

}  // namespace
}  // namespace tandem::fuzz

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: replay FOLDER\n", stderr);
    return 2;
  }
  return tandem::fuzz::run(argv[1]);
}
