// Puts a tokenizer together from a tokenizer.json of the Hugging Face library.
#include <set>

#include "base/error.h"
#include "base/json.h"
#include "text/tokenizer_impl.h"

namespace tandem {
namespace {

AddedToken read_added_token(const JsonNode& node) {
  AddedToken token;
  token.content = node.at("content").string();
  if (token.content.empty()) node.at("content").wrong("empty added token", "at least one character");
  token.single_word = node.at("single_word").boolean();
  token.lstrip = node.at("lstrip").boolean();
  token.rstrip = node.at("rstrip").boolean();
  token.normalized = node.at("normalized").boolean();
  token.special = node.at("special").boolean();
  return token;
}

// Tokens that the vocabulary has keep its id; the others are numbered behind it, in the order of the file. The library
// numbers them so whatever the file says; a file that says otherwise would be read as another one than was meant.
std::vector<AddedToken> read_added_tokens(const JsonNode& node, const TokenModel& model) {
  std::vector<AddedToken> added;
  std::set<std::string> seen;
  int64_t next = model.token_count();
  for (const JsonNode& element : node.elements()) {
    AddedToken token = read_added_token(element);
    if (!seen.insert(token.content).second) element.at("content").wrong("added token given twice", "different tokens");
    int64_t id = element.at("id").integer();
    int32_t known = model.find(token.content);
    int64_t expected = known >= 0 ? known : next++;
    if (id != expected) {
      element.at("id").wrong(fmt::format("id of the added token '{}' does not fit the vocabulary", token.content),
                             fmt::format("{}", expected));
    }
    if (known < 0 && static_cast<size_t>(id) < model.tokens().size() &&
        !model.tokens()[static_cast<size_t>(id)].empty()) {
      element.at("id").wrong("duplicate token id",
                             fmt::format("an id that '{}' does not have", model.tokens()[static_cast<size_t>(id)]));
    }
    token.id = static_cast<int32_t>(id);
    added.push_back(std::move(token));
  }
  return added;
}

// `with_special`: special tokens are searched for as well.
Tokenizer::Impl::Finders make_finders(const Tokenizer::Impl& parts, bool with_special) {
  std::vector<AddedTokenFinder::Entry> in_text, in_normalized;
  for (const AddedToken& token : parts.added) {
    if (token.special && !with_special) continue;
    const std::string& normalized = parts.decoding[static_cast<size_t>(token.id)];
    if (!token.normalized) {
      in_text.push_back({token.content, &token});
    } else if (!normalized.empty()) {
      in_normalized.push_back({normalized, &token});
    }
  }
  return {AddedTokenFinder(std::move(in_text)), AddedTokenFinder(std::move(in_normalized))};
}

// Fills the tables by id and the finders.
void place_added_tokens(Tokenizer::Impl& parts) {
  parts.tokens = parts.model->tokens();
  for (const AddedToken& token : parts.added) {
    size_t id = static_cast<size_t>(token.id);
    if (id >= parts.tokens.size()) parts.tokens.resize(id + 1);
    parts.tokens[id] = token.content;
  }
  parts.decoding = parts.tokens;
  std::set<std::string> special;
  for (const AddedToken& token : parts.added) {
    if (token.special) special.insert(token.content);
    if (token.normalized) parts.decoding[static_cast<size_t>(token.id)] = parts.normalizer.apply(token.content);
  }
  parts.all_added = make_finders(parts, true);
  parts.plain_added = make_finders(parts, false);
  for (const std::string& token : parts.decoding) parts.special.push_back(special.contains(token));
}

void refuse_unsupported(const JsonNode& root) {
  if (root.has("version") && root.at("version").string() != "1.0") {
    root.at("version").wrong("unknown version of tokenizer.json", "\"1.0\"");
  }
  for (const char* key : {"truncation", "padding"}) {
    if (root.has(key) && !root.at(key).is_null()) {
      root.at(key).wrong(fmt::format("'{}' is not supported", key), "null", "lengths are the business of the caller");
    }
  }
}

}  // namespace

std::unique_ptr<Tokenizer::Impl> read_tokenizer_json(std::string_view json, const std::string& where) {
  const Json document = parse_json(json, where);
  const Json null;
  const JsonNode root(document, where, "");
  auto optional = [&](const char* key) { return root.has(key) ? root.at(key) : JsonNode(null, where, key); };

  auto parts = std::make_unique<Tokenizer::Impl>();
  JsonNode model = root.at("model");
  refuse_unsupported(root);
  parts->normalizer = Normalizer::read(optional("normalizer"));
  parts->pre_tokenizer = PreTokenizer::read(optional("pre_tokenizer"), model.at("type").string() == "BPE");
  parts->model = read_model(model, parts->pre_tokenizer.ends_in_bytes());
  if (root.has("added_tokens")) parts->added = read_added_tokens(root.at("added_tokens"), *parts->model);
  place_added_tokens(*parts);
  if (parts->tokens.empty()) model.at("vocab").wrong("empty vocabulary", "at least one token");
  parts->post_processor = PostProcessor::read(optional("post_processor"), static_cast<int32_t>(parts->tokens.size()));
  parts->decoder = Decoder::read(optional("decoder"));
  parts->bytes = json;
  parts->hash = content_hash(json);
  return parts;
}

}  // namespace tandem
