// What a computation needs besides its operands. Passed down explicitly; the program has no mutable globals.
#pragma once

#include <memory>

#include "base/profile.h"
#include "base/threads.h"
#include "kernels/isa.h"
#include "tensor/arena.h"

namespace tandem {

namespace cpu {
struct Kernels;  // the function table of one instruction set: kernels/cpu/kernels.h
}
class Gemm;  // matrix products, with their cache of prepared primitives: kernels/gemm.h

class Context {
 public:
  // threads <= 0: all cores this process may use.
  explicit Context(int threads = 0);
  Context(int threads, Isa isa);
  ~Context();

  ThreadPool& pool() { return pool_; }
  Arena& scratch() { return scratch_; }  // for the length of one kernel call, in an ArenaScope
  Profiler& profiler() { return profiler_; }
  Isa isa() const { return isa_; }
  const cpu::Kernels& cpu() const { return *cpu_; }
  Gemm& gemm() { return *gemm_; }

 private:
  Isa isa_;
  ThreadPool pool_;
  Arena scratch_;
  Profiler profiler_;
  const cpu::Kernels* cpu_;
  std::unique_ptr<Gemm> gemm_;
};

}  // namespace tandem
