// The tile instructions of AMX. Only files of this folder include it; they are compiled for AMX and called only where
// the machine has it and the system has granted it to the process (kernels/isa.cpp).
//
// Written out, because the intrinsics of g++ 12 take a tile's number as text, not as a template's argument, and do not
// tell the compiler that memory is read and written.
#pragma once

#include "kernels/cpu/simd.h"
#include "kernels/cpu/tile_config.h"

namespace tandem::cpu::TANDEM_ISA_NAMESPACE {

struct Tiles {
  // Sets the shapes, and all tiles to zero.
  static TANDEM_INLINE void configure(const TileConfig& config) { __asm__ volatile("ldtilecfg %0" : : "m"(config)); }
  // Switches of threads save tiles that are in use: no kernel keeps them.
  static TANDEM_INLINE void release() { __asm__ volatile("tilerelease"); }
  template <int t>
  static TANDEM_INLINE void zero() {
    __asm__ volatile("tilezero %%tmm%c0" : : "i"(t));
  }
  // Strides in bytes.
  template <int t>
  static TANDEM_INLINE void load(const void* from, int64_t stride) {
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(t) : "memory");
  }
  template <int t>
  static TANDEM_INLINE void store(void* to, int64_t stride) {
    __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "i"(t) : "memory");
  }
  // sum += a b, where words of a and of b are pairs of bf16.
  template <int sum, int a, int b>
  static TANDEM_INLINE void multiply() {
    __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(sum), "i"(a), "i"(b));
  }
};

}  // namespace tandem::cpu::TANDEM_ISA_NAMESPACE
