#include "text/post_processor.h"

#include "base/error.h"
#include "base/json.h"

namespace tandem {
namespace {

int32_t read_id(const JsonNode& node, int32_t vocab_size) {
  int64_t id = node.integer();
  if (id < 0 || id >= vocab_size) node.wrong("id outside the vocabulary", fmt::format("0 to {}", vocab_size - 1));
  return static_cast<int32_t>(id);
}

std::vector<int32_t> special_ids(const JsonNode& table, const JsonNode& name, int32_t vocab_size) {
  if (!table.has(name.string().c_str())) name.wrong("token is not in 'special_tokens'", "one of its keys");
  std::vector<int32_t> ids;
  for (const JsonNode& id : table.at(name.string().c_str()).at("ids").elements())
    ids.push_back(read_id(id, vocab_size));
  return ids;
}

// ["</s>", 2]
int32_t read_token_and_id(const JsonNode& node, int32_t vocab_size) {
  auto parts = node.elements();
  if (parts.size() != 2) node.wrong("wrong length", "a token and its id");
  parts[0].string();
  return read_id(parts[1], vocab_size);
}

}  // namespace

PostProcessor PostProcessor::read(const JsonNode& node, int32_t vocab_size) {
  PostProcessor processor;
  if (!node.is_null()) processor.add(node, vocab_size);
  return processor;
}

void PostProcessor::add_template(const JsonNode& node, int32_t vocab_size) {
  JsonNode table = node.at("special_tokens");
  Step step;
  int sequences = 0;
  for (const JsonNode& piece : node.at("single").elements()) {
    if (piece.has("Sequence")) {
      JsonNode id = piece.at("Sequence").at("id");
      if (id.string() != "A") id.wrong("unknown sequence in a template for one text", "\"A\"");
      ++sequences;
    } else if (piece.has("SpecialToken")) {
      auto ids = special_ids(table, piece.at("SpecialToken").at("id"), vocab_size);
      auto& side = sequences == 0 ? step.before : step.behind;
      side.insert(side.end(), ids.begin(), ids.end());
    } else {
      piece.wrong("unknown piece of a template", "{\"Sequence\": ...} or {\"SpecialToken\": ...}");
    }
  }
  if (sequences != 1) node.at("single").wrong("template without exactly one text", "the sequence \"A\" once");
  steps_.push_back(std::move(step));
}

void PostProcessor::add(const JsonNode& node, int32_t vocab_size) {
  const std::string& type = node.at("type").string();
  if (type == "Sequence") {
    for (const JsonNode& part : node.at("processors").elements()) add(part, vocab_size);
  } else if (type == "TemplateProcessing") {
    add_template(node, vocab_size);
  } else if (type == "BertProcessing" || type == "RobertaProcessing") {
    steps_.push_back(
        {{read_token_and_id(node.at("cls"), vocab_size)}, {read_token_and_id(node.at("sep"), vocab_size)}});
  } else if (type != "ByteLevel") {  // which moves offsets and leaves ids alone
    node.at("type").wrong("unknown kind of post-processor",
                          "ByteLevel, TemplateProcessing, BertProcessing, RobertaProcessing or Sequence");
  }
}

std::vector<int32_t> PostProcessor::apply(std::vector<int32_t> ids) const {
  for (const Step& step : steps_) {
    ids.insert(ids.begin(), step.before.begin(), step.before.end());
    ids.insert(ids.end(), step.behind.begin(), step.behind.end());
  }
  return ids;
}

}  // namespace tandem
