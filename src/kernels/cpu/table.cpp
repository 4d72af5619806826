#include "kernels/cpu/kernels.h"

namespace tandem::cpu::TANDEM_ISA_NAMESPACE {

extern const ElementwiseKernels kElementwise;

// References to constants: the table is built by the linker, before any code runs.
const Kernels kKernels = {
    .elementwise = kElementwise,
};

}  // namespace tandem::cpu::TANDEM_ISA_NAMESPACE
