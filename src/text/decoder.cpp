#include "text/decoder.h"

#include <algorithm>

#include "base/error.h"
#include "base/json.h"
#include "text/normalizer.h"

namespace tandem {
namespace {

int64_t read_count(const JsonNode& node) {
  int64_t count = node.integer();
  if (count < 0) node.wrong("negative number of characters", "0 or more");
  return count;
}

}  // namespace

Decoder Decoder::read(const JsonNode& node) {
  Decoder decoder;
  if (node.is_null()) {
    decoder.steps_.push_back(JoinBySpaces{});
  } else {
    decoder.add(node);
  }
  return decoder;
}

Decoder Decoder::of(SentencePiece step) {
  Decoder decoder;
  decoder.steps_.push_back(std::move(step));
  return decoder;
}

bool Decoder::has_byte_tokens() const {
  return std::any_of(steps_.begin(), steps_.end(), [](const Step& step) {
    return std::holds_alternative<ByteFallback>(step) || std::holds_alternative<SentencePiece>(step);
  });
}

void Decoder::add(const JsonNode& node) {
  const std::string& type = node.at("type").string();
  if (type == "Sequence") {
    for (const JsonNode& part : node.at("decoders").elements()) add(part);
  } else if (type == "ByteLevel") {
    steps_.push_back(ByteLevel{});
  } else if (type == "ByteFallback") {
    steps_.push_back(ByteFallback{});
  } else if (type == "Fuse") {
    steps_.push_back(Fuse{});
  } else if (type == "Replace") {
    JsonNode pattern = node.at("pattern");
    steps_.push_back(Replace{read_pattern(pattern), node.at("content").string(), read_literal(pattern)});
  } else if (type == "Strip") {
    steps_.push_back(Strip{node.at("content").character(), read_count(node.at("start")), read_count(node.at("stop"))});
  } else if (type == "Metaspace") {
    std::string scheme =
        node.string_or("prepend_scheme", node.boolean_or("add_prefix_space", true) ? "always" : "never");
    if (scheme != "always" && scheme != "first" && scheme != "never") {
      node.at("prepend_scheme").wrong("unknown scheme", "always, first or never");
    }
    steps_.push_back(Metaspace{node.at("replacement").character(), scheme != "never"});
  } else {
    node.at("type").wrong("unknown kind of decoder",
                          "ByteLevel, ByteFallback, Fuse, Replace, Strip, Metaspace or Sequence");
  }
}

}  // namespace tandem
