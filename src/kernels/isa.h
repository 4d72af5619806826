// Instruction sets and the choice among them at run time.
#pragma once

#include <string_view>
#include <vector>

namespace tandem {

// Slowest first. Each contains the ones before it. `amx` uses the kernels of avx512_bf16, but for products of matrices
// and attention in bf16, by tiles.
enum class Isa { avx2, avx512, avx512_bf16, amx };

std::string_view isa_name(Isa isa);

// What this processor and system offer. Where the processor has tiles, asks the system for them: it grants them to the
// process, and every Context calls this before a kernel runs. InputError when not even AVX2 is there.
Isa detect_isa();

// detect_isa(), lowered by the environment variable TANDEM_ISA (avx2 | avx512 | avx512_bf16 | amx).
// InputError for an unknown name or for an instruction set that the machine lacks.
Isa choose_isa();

// True where matrix products in bfloat16 pay; elsewhere a run in bf16 precision computes in float32.
constexpr bool has_bf16_products(Isa isa) { return isa >= Isa::avx512_bf16; }

}  // namespace tandem
