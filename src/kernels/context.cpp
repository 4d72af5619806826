#include "kernels/context.h"

#include "base/error.h"
#include "kernels/cpu/kernels.h"
#include "kernels/gemm.h"

namespace tandem {
namespace {

// Code for an instruction set that the machine lacks would end the program by a signal.
Isa checked(Isa isa) {
  Isa best = detect_isa();
  if (isa > best) {
    throw InputError({.what = "instruction set not available",
                      .got = std::string(isa_name(isa)),
                      .expected = fmt::format("at most {}", isa_name(best))});
  }
  return isa;
}

}  // namespace

namespace cpu {

const Kernels& table(Isa isa) {
  switch (isa) {
    case Isa::avx2: return avx2::kKernels;
    case Isa::avx512: return avx512::kKernels;
    case Isa::avx512_bf16:
    case Isa::amx: return avx512_bf16::kKernels;
  }
  return avx2::kKernels;
}

ProductTypes products(Isa isa) {
  ProductTypes types = table(isa).product;
  if (isa == Isa::amx) types.bf16 = amx::kBf16Product;
  return types;
}

const SpanAttentionKernels& span_attention(Isa isa) {
  if (isa != Isa::amx) return table(isa).span_attention;
  static const SpanAttentionKernels by_tiles = amx::with_tiles(table(isa).span_attention);
  return by_tiles;
}

}  // namespace cpu

Context::Context(int threads) : Context(threads, choose_isa()) {}

Context::Context(int threads, Isa isa)
    : isa_(checked(isa)),
      pool_(threads > 0 ? threads : available_cores()),
      cpu_(&cpu::table(isa_)),
      gemm_(std::make_unique<Gemm>(isa_, cpu::products(isa_), pool_.threads())) {}

Context::~Context() = default;

}  // namespace tandem
