# Instruction sets for which src/kernels/cpu/*.cpp is compiled, slowest first. Each file is compiled once per entry with
# TANDEM_ISA_NAMESPACE set to the entry's name; the table of an entry is picked at run time (kernels/isa.h).
set(TANDEM_ISAS avx2 avx512 avx512_bf16)
set(TANDEM_ISA_FLAGS_avx2 -mavx2 -mfma -mf16c -mbmi2)
set(TANDEM_ISA_FLAGS_avx512 ${TANDEM_ISA_FLAGS_avx2} -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512cd
    -mprefer-vector-width=512)
set(TANDEM_ISA_FLAGS_avx512_bf16 ${TANDEM_ISA_FLAGS_avx512} -mavx512bf16 -mavx512vnni)
# Only what uses tiles is compiled for AMX: src/kernels/cpu/amx/*.cpp.
set(TANDEM_ISA_FLAGS_amx ${TANDEM_ISA_FLAGS_avx512_bf16} -mamx-tile -mamx-bf16)

# tandem_isa_object(TARGET ISA sources...): adds the sources to TARGET, compiled for one instruction set.
function(tandem_isa_object target isa)
  set(name ${target}_${isa})
  add_library(${name} OBJECT ${ARGN})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/src)
  # g++ 12 takes the deliberately undefined operands inside its own AVX-512 intrinsics for mistakes.
  target_compile_options(${name} PRIVATE ${TANDEM_ISA_FLAGS_${isa}} -O3 -ffp-contract=fast -Wno-uninitialized
                         -Wno-maybe-uninitialized)
  target_compile_definitions(${name} PRIVATE TANDEM_ISA_NAMESPACE=${isa})
  target_sources(${target} PRIVATE $<TARGET_OBJECTS:${name}>)
endfunction()

# tandem_isa_objects(TARGET sources...): the same once per instruction set.
function(tandem_isa_objects target)
  foreach(isa ${TANDEM_ISAS})
    tandem_isa_object(${target} ${isa} ${ARGN})
  endforeach()
endfunction()
