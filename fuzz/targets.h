// The readers of foreign bytes, one function each: it takes any bytes and must return. What a reader refuses with an
// InputError is as good as what it accepts; everything else that leaves a function, or a sanitizer's complaint, is a
// finding.
#pragma once

#include <array>
#include <string_view>

namespace tandem::fuzz {

void safetensors(std::string_view bytes);
void tokenizer_json(std::string_view bytes);
void sentencepiece(std::string_view bytes);
void run_config(std::string_view bytes);
void jsonl(std::string_view bytes);
void huggingface_config(std::string_view bytes);
void gguf_model(std::string_view bytes);
void run_log(std::string_view bytes);
void model_config(std::string_view bytes);
void product_choices(std::string_view bytes);
void grammar(std::string_view bytes);
void json_schema(std::string_view bytes);
void saved_state(std::string_view bytes);
void torch_file(std::string_view bytes);
void gguf(std::string_view bytes);

struct Target {
  const char* name;  // of its folder in fuzz/corpus
  void (*run)(std::string_view bytes);
};

inline constexpr std::array kTargets{
    Target{"safetensors", safetensors},
    Target{"tokenizer_json", tokenizer_json},
    Target{"sentencepiece", sentencepiece},
    Target{"run_config", run_config},
    Target{"jsonl", jsonl},
    Target{"huggingface_config", huggingface_config},
    Target{"gguf_model", gguf_model},
    Target{"run_log", run_log},
    Target{"model_config", model_config},
    Target{"product_choices", product_choices},
    Target{"grammar", grammar},
    Target{"json_schema", json_schema},
    Target{"saved_state", saved_state},
    Target{"torch_file", torch_file},
    Target{"gguf", gguf},
};

}  // namespace tandem::fuzz
