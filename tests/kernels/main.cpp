// Skips (exit code 77) when TANDEM_ISA names an instruction set that this machine lacks.
#include <gtest/gtest.h>

#include <cstdio>

#include "base/error.h"
#include "kernels/isa.h"

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  try {
    std::printf("instruction set: %s\n", std::string(tandem::isa_name(tandem::choose_isa())).c_str());
  } catch (const tandem::InputError& error) {
    std::printf("skipped: %s\n", error.what());
    return 77;
  }
  return RUN_ALL_TESTS();
}
