// Reads the "model" of a tokenizer.json and refuses what does not fit together.
#include <algorithm>

#include "base/error.h"
#include "base/json.h"
#include "text/bpe.h"
#include "text/unigram.h"

namespace tandem {
namespace {

// Ids may have holes, but a huge one is a broken file, and a table as long as it would eat the memory.
constexpr int64_t kMostHoles = 65536;

std::vector<std::string> read_vocabulary(const JsonNode& node) {
  auto members = node.members();
  int64_t limit = static_cast<int64_t>(members.size()) + kMostHoles;
  std::vector<std::string> tokens;
  for (const auto& [text, entry] : members) {
    if (text.empty()) entry.wrong("empty token in the vocabulary", "a token of at least one character");
    int64_t id = entry.integer();
    if (id < 0 || id >= limit) {
      entry.wrong("token id out of range",
                  fmt::format("0 to {} ({} tokens and at most {} holes)", limit - 1, members.size(), kMostHoles));
    }
    size_t place = static_cast<size_t>(id);
    if (place >= tokens.size()) tokens.resize(place + 1);
    if (!tokens[place].empty())
      entry.wrong("duplicate token id", fmt::format("an id that '{}' does not have", tokens[place]));
    tokens[place] = text;
  }
  return tokens;
}

// ["a", "b"], or "a b" as older files write it.
std::pair<std::string, std::string> read_pair(const JsonNode& node) {
  if (node.value().is_array()) {
    auto sides = node.elements();
    if (sides.size() != 2) node.wrong("merge of another number than two", "two tokens");
    return {sides[0].string(), sides[1].string()};
  }
  if (!node.value().is_string()) node.wrong("wrong type", "two tokens: [\"a\", \"b\"] or \"a b\"");
  const std::string& both = node.string();
  size_t space = both.find(' ');
  if (space == std::string::npos || both.find(' ', space + 1) != std::string::npos) {
    node.wrong("merge of another number than two", "two tokens with one space between them");
  }
  return {both.substr(0, space), both.substr(space + 1)};
}

std::vector<BpeModel::MergeRule> read_merges(const JsonNode& node, const TokenTable& vocabulary) {
  std::vector<BpeModel::MergeRule> merges;
  for (const JsonNode& element : node.elements()) {
    auto [left, right] = read_pair(element);
    BpeModel::MergeRule rule{vocabulary.find(left), vocabulary.find(right), vocabulary.find(left + right),
                             static_cast<uint32_t>(merges.size())};
    if (rule.left < 0 || rule.right < 0 || rule.result < 0) {
      std::string missing = rule.left < 0 ? left : rule.right < 0 ? right : left + right;
      throw InputError({.what = "merge of unknown tokens",
                        .where = element.where(),
                        .got = fmt::format("'{}' and '{}'", left, right),
                        .expected = fmt::format("'{}' in model.vocab", missing)});
    }
    merges.push_back(rule);
  }
  return merges;
}

void refuse_unsupported(const JsonNode& node) {
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!node.string_or(key, "").empty()) node.at(key).wrong(fmt::format("'{}' is not supported", key), "null");
  }
  if (node.has("dropout") && !node.at("dropout").is_null()) {
    JsonNode dropout = node.at("dropout");
    bool zero = dropout.value().is_number() && dropout.value().get<double>() == 0.0;
    if (!zero) dropout.wrong("'dropout' is not supported", "null or 0: encoding must not be random");
  }
}

}  // namespace

std::unique_ptr<const TokenModel> read_bpe(const JsonNode& node, bool bytes) {
  refuse_unsupported(node);
  std::vector<std::string> tokens = read_vocabulary(node.at("vocab"));
  TokenTable vocabulary(tokens.size());
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (!tokens[id].empty()) vocabulary.insert(tokens[id], static_cast<int32_t>(id));
  }
  BpeOptions options;
  options.fuse_unknown = node.boolean_or("fuse_unk", false);
  options.byte_fallback = node.boolean_or("byte_fallback", false);
  options.ignore_merges = node.boolean_or("ignore_merges", false);
  std::string unknown = node.string_or("unk_token", "");
  if (!unknown.empty()) {
    options.unknown = vocabulary.find(unknown);
    if (*options.unknown < 0)
      node.at("unk_token").wrong("unknown token is not in the vocabulary", "a key of model.vocab");
  }
  auto merges = read_merges(node.at("merges"), vocabulary);
  return std::make_unique<BpeModel>(std::move(tokens), merges, options, bytes);
}

std::unique_ptr<const TokenModel> read_model(const JsonNode& node, bool bytes) {
  const std::string& type = node.at("type").string();
  if (type == "BPE") return read_bpe(node, bytes);
  if (type == "Unigram") return read_unigram(node);
  node.at("type").wrong("unknown kind of model", "BPE or Unigram");
}

}  // namespace tandem
