// What `convert` makes of foreign files beyond their tensors: configs of transformers, configs and tokenizers in GGUF.
#include <cstdlib>

#include "arch/stop_ids.h"
#include "base/error.h"
#include "base/json.h"
#include "convert/gguf_llama.h"
#include "convert/gguf_tokenizer.h"
#include "convert/huggingface.h"
#include "targets.h"
#include "temporary_file.h"

namespace tandem::fuzz {

void huggingface_config(std::string_view bytes) {
  try {
    Json json = parse_json(bytes, "config.json");
    if (!is_huggingface_config(json)) return;
    ModelConfig config = tandem::huggingface_config(json, "config.json");
    // What is written into a folder is the same model again.
    Json written = Json::parse(huggingface_json(config, "float32", "config.json").dump());
    ModelConfig again = tandem::huggingface_config(written, "config.json");
    FieldList fields, again_fields;
    list_fields(fields, config);
    list_fields(again_fields, again);
    // Sizes that were left open are written as what they are.
    if (config.head_size() != again.head_size()) std::abort();
    config.head_dim = again.head_dim;
    if (fields.to_json() != again_fields.to_json()) std::abort();
    std::vector<int32_t> ends = stop_ids_of(json, config.vocab_size, "config.json");
    if (stop_ids_of(Json{{"eos_token_id", ends}}, config.vocab_size, "config.json") != ends) std::abort();
  } catch (const InputError&) {
  }
}

void gguf_model(std::string_view bytes) {
  static const TemporaryFile path("model.gguf");
  path.write(bytes);
  try {
    GgufFile file = GgufFile::open(path.path());
    TokenizerFile tokenizer = tokenizer_of_gguf(file);
    if (!tokenizer.bytes.empty()) Tokenizer::parse(tokenizer.bytes, "model.gguf", tokenizer_format(tokenizer.name));
    gguf_stop_ids(file, gguf_config(file));
  } catch (const InputError&) {
  }
}

}  // namespace tandem::fuzz
