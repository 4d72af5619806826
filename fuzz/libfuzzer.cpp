// One target under libFuzzer (https://llvm.org/docs/LibFuzzer.html): TANDEM_FUZZ_TARGET names it.
#include <cstddef>
#include <cstdint>

#include "targets.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  tandem::fuzz::TANDEM_FUZZ_TARGET({reinterpret_cast<const char*>(data), size});
  return 0;
}
