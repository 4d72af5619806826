// Grammars and JSON schemas, compiled and followed.
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "base/rng.h"
#include "infer/constraint.h"
#include "infer/grammar_reader.h"
#include "infer/json_schema.h"
#include "targets.h"

namespace tandem::fuzz {
namespace {

constexpr int32_t kEos = 0;

// EOS, every byte, and a few longer tokens.
std::shared_ptr<const ConstraintVocabulary> vocabulary() {
  static const auto shared = [] {
    std::vector<std::string> tokens{""};
    for (int byte = 0; byte < 256; ++byte) tokens.emplace_back(1, static_cast<char>(byte));
    for (const char* more : {"\"", "{\"", "\": ", "[[", "]]", "true", "12", "\u00e4", "ab", "\n  "})
      tokens.emplace_back(more);
    return std::make_shared<const ConstraintVocabulary>(tokens, tokens, std::vector<int32_t>{kEos});
  }();
  return shared;
}

// A short walk through the masks. There is always a token, since every byte is one. The text.
std::string walk(const std::shared_ptr<const Constraint>& constraint, uint64_t seed, bool& ended) {
  Rng rng(seed, 0);
  ConstraintState state(constraint);
  std::string text;
  for (int step = 0; step < 24; ++step) {
    std::vector<int32_t> ids;
    std::span<const uint64_t> mask = state.mask();
    for (size_t id = 0; id < vocabulary()->size(); ++id) {
      if (mask[id / 64] >> id % 64 & 1) ids.push_back(static_cast<int32_t>(id));
    }
    if (ids.empty()) std::abort();
    int32_t id = ids[rng.below(static_cast<uint32_t>(ids.size()))];
    state.accept(id);
    if (id == kEos) {
      ended = true;
      return text;
    }
    text += vocabulary()->bytes(id, false);
  }
  return text;
}

template <class Read>
void run(std::string_view bytes, Read read, bool json) {
  // Large counts are legal, and slow under sanitizers.
  if (bytes.size() > 4096) return;
  try {
    Grammar grammar = read(bytes, "input");
    auto constraint = std::make_shared<const Constraint>(grammar, vocabulary());
    for (uint64_t seed = 0; seed < 4; ++seed) {
      bool ended = false;
      std::string text = walk(constraint, seed, ended);
      if (json && ended && !Json::accept(text)) std::abort();
    }
  } catch (const InputError&) {
  }
}

}  // namespace

void grammar(std::string_view bytes) { run(bytes, read_grammar, false); }
void json_schema(std::string_view bytes) { run(bytes, read_json_schema, true); }

}  // namespace tandem::fuzz
