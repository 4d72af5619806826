# libFuzzer's programs, fuzz_NAME for every target of fuzz/targets.h, with AddressSanitizer and
# UndefinedBehaviorSanitizer: cmake --preset fuzz && cmake --build --preset fuzz. Nothing else is built: of the folders
# of src/ only the files that read foreign bytes, and what those need.
if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  message(FATAL_ERROR "TANDEM_FUZZ needs clang (CXX=clang++): libFuzzer is a part of it")
endif()

set(src ${CMAKE_SOURCE_DIR}/src)
file(GLOB core CONFIGURE_DEPENDS ${src}/base/*.cpp ${src}/tensor/*.cpp ${src}/text/*.cpp)
list(FILTER core EXCLUDE REGEX "(bpe_trainer|/batch)\\.cpp$")
list(APPEND core
  ${src}/formats/safetensors.cpp ${src}/formats/run_log.cpp ${src}/formats/compressed.cpp
  ${src}/formats/clean_text.cpp ${src}/formats/gguf.cpp ${src}/formats/gguf_blocks.cpp ${src}/formats/pickle.cpp
  ${src}/formats/strided_copy.cpp ${src}/formats/torch_file.cpp ${src}/formats/zip_archive.cpp
  ${src}/formats/huggingface_names.cpp ${src}/convert/checkpoint_map.cpp ${src}/convert/foreign_tensors.cpp
  ${src}/convert/gguf_llama.cpp ${src}/convert/gguf_tokenizer.cpp ${src}/convert/huggingface.cpp
  ${src}/kernels/rope.cpp
  ${src}/data/config.cpp ${src}/data/source.cpp ${src}/data/conversation.cpp ${src}/data/json_lines.cpp
  ${src}/data/holdout.cpp
  ${src}/infer/automaton.cpp ${src}/infer/code_set.cpp ${src}/infer/constraint.cpp ${src}/infer/grammar_reader.cpp
  ${src}/infer/json_schema.cpp ${src}/infer/json_text.cpp ${src}/infer/matcher.cpp ${src}/infer/pattern.cpp
  ${src}/infer/schema_node.cpp ${src}/infer/token_trie.cpp
  ${src}/arch/config.cpp ${src}/arch/stop_ids.cpp ${src}/arch/block_config.cpp ${src}/arch/boundaries.cpp ${src}/arch/numpy_rng.cpp
  ${src}/arch/double_decoder_state.cpp ${src}/arch/memory_rows.cpp ${src}/arch/state_archive.cpp
  ${src}/arch/yoco_state.cpp ${src}/cache/page_pool.cpp ${src}/cache/paged_rows.cpp ${src}/cache/recent_rows.cpp
  ${src}/cache/spilled_rows.cpp ${src}/kernels/span_plan.cpp
  ${src}/train/run_config.cpp ${src}/train/optimizer.cpp ${src}/train/schedule.cpp ${src}/train/guard.cpp
  ${src}/train/product_choices.cpp ${src}/train/run_state.cpp)

# Of the optimizer only the config is read, of rotary positions the table made, of maps of checkpoints the names. Sections
# that nothing refers to are dropped, and with them the arithmetic, which would ask for all kernels; instrumentation
# would refer to every function.
set_source_files_properties(
  ${src}/train/optimizer.cpp ${src}/kernels/rope.cpp ${src}/convert/checkpoint_map.cpp
  PROPERTIES COMPILE_OPTIONS "-fno-sanitize=address,undefined,fuzzer-no-link")
set(sanitizers -fsanitize=address,undefined -fno-sanitize=vptr -fno-sanitize-recover=undefined)
add_library(tandem_fuzzed STATIC ${core})
target_include_directories(tandem_fuzzed PUBLIC ${src} ${CMAKE_SOURCE_DIR}/fuzz)
target_include_directories(tandem_fuzzed SYSTEM PRIVATE ${SENTENCEPIECE_INCLUDE_DIR})
target_compile_options(tandem_fuzzed PUBLIC -O1 -g1 -fsanitize=fuzzer-no-link ${sanitizers} -ffunction-sections
                                            -fdata-sections)
target_link_options(tandem_fuzzed PUBLIC ${sanitizers} -Wl,--gc-sections)
target_link_libraries(tandem_fuzzed PUBLIC fmt::fmt nlohmann_json::nlohmann_json PkgConfig::TOMLPLUSPLUS
                      PkgConfig::PCRE2 PkgConfig::UTF8PROC ${SENTENCEPIECE_LIBRARY} ZLIB::ZLIB PkgConfig::ZSTD
                      Threads::Threads)

file(GLOB targets CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/fuzz/*.cpp)
list(FILTER targets EXCLUDE REGEX "(libfuzzer|replay)\\.cpp$")
add_library(tandem_fuzz_targets STATIC ${targets})
target_link_libraries(tandem_fuzz_targets PUBLIC tandem_fuzzed)

add_custom_target(fuzzers)
foreach(name safetensors tokenizer_json sentencepiece run_config jsonl run_log model_config product_choices grammar
             json_schema saved_state torch_file gguf huggingface_config gguf_model)
  add_executable(fuzz_${name} ${CMAKE_SOURCE_DIR}/fuzz/libfuzzer.cpp)
  target_compile_definitions(fuzz_${name} PRIVATE TANDEM_FUZZ_TARGET=${name})
  target_link_libraries(fuzz_${name} PRIVATE tandem_fuzz_targets)
  target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
  add_dependencies(fuzzers fuzz_${name})
endforeach()
