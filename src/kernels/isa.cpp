#include "kernels/isa.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <string>

#include "base/error.h"

namespace tandem {
namespace {

constexpr Isa kAllIsas[] = {Isa::avx2, Isa::avx512, Isa::avx512_bf16, Isa::amx};

struct Registers {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers cpuid(uint32_t leaf, uint32_t subleaf = 0) {
  Registers r;
  if (!__get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx)) return {};
  return r;
}

bool all(uint64_t value, std::initializer_list<int> bits) {
  for (int bit : bits) {
    if (!(value >> bit & 1)) return false;
  }
  return true;
}

// The register states that the system saves for a process. Only valid where CPUID reports OSXSAVE.
uint64_t xcr0() {
  uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t{high} << 32 | low;
}

// Linux gives a process the tile registers only when it asks (Documentation/arch/x86/xstate.rst).
bool system_grants_tiles() {
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;
  return ::syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

// The best set, or nothing when even AVX2 is missing. Bit numbers: Intel SDM volume 2A, CPUID.
bool best_isa(Isa& best) {
  Registers one = cpuid(1), seven = cpuid(7), seven_one = cpuid(7, 1);
  if (!all(one.ecx, {12, 27, 28, 29})) return false;  // FMA, OSXSAVE, AVX, F16C
  uint64_t saved = xcr0();
  if (!all(saved, {1, 2}) || !all(seven.ebx, {5, 8})) return false;  // SSE and AVX state; AVX2, BMI2
  best = Isa::avx2;
  // Mask and ZMM state; AVX-512 F, DQ, CD, BW, VL.
  if (!all(saved, {5, 6, 7}) || !all(seven.ebx, {16, 17, 28, 30, 31})) return true;
  best = Isa::avx512;
  if (!all(seven.ecx, {11}) || !all(seven_one.eax, {5})) return true;  // AVX-512 VNNI, BF16
  best = Isa::avx512_bf16;
  if (!all(seven.edx, {22, 24}) || !all(saved, {17, 18})) return true;  // AMX-BF16, AMX-TILE; tile state
  if (system_grants_tiles()) best = Isa::amx;
  return true;
}

}  // namespace

std::string_view isa_name(Isa isa) {
  switch (isa) {
    case Isa::avx2: return "avx2";
    case Isa::avx512: return "avx512";
    case Isa::avx512_bf16: return "avx512_bf16";
    case Isa::amx: return "amx";
  }
  return "?";
}

Isa detect_isa() {
  Isa best;
  if (!best_isa(best)) {
    throw InputError({.what = "this processor cannot run the program",
                      .got = "no AVX2 (with FMA, F16C and BMI2)",
                      .expected = "an x86-64 processor with AVX2"});
  }
  return best;
}

Isa choose_isa() {
  Isa best = detect_isa();
  const char* name = std::getenv("TANDEM_ISA");
  if (!name || !*name) return best;
  for (Isa isa : kAllIsas) {
    if (isa_name(isa) != name) continue;
    if (isa > best) {
      throw InputError({.what = "instruction set not available",
                        .where = "environment variable TANDEM_ISA",
                        .got = name,
                        .expected = fmt::format("at most {}, the best that this machine has", isa_name(best))});
    }
    return isa;
  }
  throw InputError({.what = "unknown instruction set",
                    .where = "environment variable TANDEM_ISA",
                    .got = fmt::format("'{}'", name),
                    .expected = "avx2, avx512, avx512_bf16 or amx"});
}

}  // namespace tandem
