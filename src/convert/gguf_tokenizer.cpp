#include "convert/gguf_tokenizer.h"

#include <array>
#include <bit>
#include <cstring>
#include <map>

#include "base/error.h"
#include "base/json.h"
#include "text/sentencepiece_file.h"

namespace tandem {
namespace {

// What llama.cpp says of a token; the numbers are SentencePiece's.
enum TokenKind { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

// Ways to cut text into words before BPE, by llama.cpp's names.
struct PreTokenizer {
  const char* name;
  const char* pattern;  // null: the one that is built into ByteLevel
};
constexpr const char* kGpt2Pattern =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
constexpr std::array<PreTokenizer, 3> kPreTokenizers{{
    {"gpt-2", nullptr},
    {"llama-bpe",
     "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
     "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"
     "\\s+(?!\\S)|\\s+"},
    {"qwen2",
     "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"
     "\\s+(?!\\S)|\\s+"},
}};

constexpr const char* kLeaveOut = "--tokenizer none leaves it out, --tokenizer FILE takes another";

[[noreturn]] void no_place(const std::string& got) {
  throw InputError({.what = "tokenizer that llama.cpp does not have",
                    .where = "tokenizer",
                    .got = got,
                    .expected = "byte-level BPE or SentencePiece's BPE",
                    .hint = kLeaveOut});
}

// Tokens by id, and what each is.
struct Vocabulary {
  std::vector<std::string> tokens;
  std::vector<int64_t> kinds;
  std::vector<double> scores;  // SentencePiece's

  void put(size_t id, const std::string& token, int64_t kind) {
    if (id >= tokens.size()) {
      tokens.resize(id + 1);
      kinds.resize(id + 1, kUnused);
    }
    tokens[id] = token;
    kinds[id] = kind;
  }
  void fill_up(int64_t size) {
    tokens.resize(std::max(tokens.size(), static_cast<size_t>(size)));
    kinds.resize(tokens.size(), kUnused);
    for (size_t id = 0; id < tokens.size(); ++id) {
      if (tokens[id].empty()) tokens[id] = fmt::format("[PAD{}]", id);
    }
    if (!scores.empty()) scores.resize(tokens.size(), -1e4);
  }
};

using Metadata = std::vector<std::pair<std::string, GgufValue>>;

Metadata vocabulary_metadata(const char* model, Vocabulary vocabulary, int64_t vocab_size) {
  vocabulary.fill_up(vocab_size);
  Metadata out{{"tokenizer.ggml.model", GgufValue::string(model)},
               {"tokenizer.ggml.tokens", GgufValue::strings(std::move(vocabulary.tokens))},
               {"tokenizer.ggml.token_type", GgufValue::i32s(std::move(vocabulary.kinds))}};
  if (!vocabulary.scores.empty()) {
    out.emplace_back("tokenizer.ggml.scores", GgufValue::f32s(std::move(vocabulary.scores)));
  }
  return out;
}

Vocabulary json_vocabulary(const Json& json) {
  Vocabulary out;
  for (const auto& [token, id] : json.at("model").at("vocab").items()) out.put(id.get<size_t>(), token, kNormal);
  for (const Json& added : json.at("added_tokens")) {
    out.put(added.at("id").get<size_t>(), added.at("content").get<std::string>(),
            added.at("special").get<bool>() ? kControl : kUserDefined);
  }
  return out;
}

std::string pair_text(const Json& merge) {
  if (merge.is_string()) return merge.get<std::string>();
  return merge.at(0).get<std::string>() + " " + merge.at(1).get<std::string>();
}

// Every part of "pre_tokenizer", alone or in a sequence, of one type.
const Json* part_of(const Json& whole, const char* type, const char* list) {
  if (whole.is_null()) return nullptr;
  if (whole.at("type") == type) return &whole;
  if (whole.at("type") != "Sequence") return nullptr;
  for (const Json& part : whole.at(list)) {
    if (part.at("type") == type) return &part;
  }
  return nullptr;
}

// llama.cpp's name of the way in which a byte-level BPE cuts text.
std::string pre_tokenizer_name(const Json& json) {
  const Json& whole = json.at("pre_tokenizer");
  const Json* bytes = part_of(whole, "ByteLevel", "pretokenizers");
  const Json* split = part_of(whole, "Split", "pretokenizers");
  if (!bytes) no_place(whole.is_null() ? "BPE without a pre-tokenizer" : "BPE of another pre-tokenizer than ByteLevel");
  bool built_in = bytes->value("use_regex", true);
  if (!split) {
    if (!built_in) no_place("byte-level BPE that does not cut text into words");
    return "gpt-2";
  }
  const Json& pattern = split->at("pattern");
  std::string regex = pattern.contains("Regex") ? pattern.at("Regex").get<std::string>() : "";
  if (regex == kGpt2Pattern && !built_in) return "gpt-2";
  for (const PreTokenizer& known : kPreTokenizers) {
    if (known.pattern && regex == known.pattern && !built_in) return known.name;
  }
  no_place("a pre-tokenizer that cuts text by '" + regex + "'");
}

// Whether encoding a text puts a special token in front of it, and behind it.
void add_ends(Metadata& out, const Tokenizer& tokenizer, bool begins) {
  std::vector<int32_t> plain = tokenizer.encode("a"), all = tokenizer.encode("a", true);
  bool more = all.size() > plain.size();
  bool before = more && tokenizer.is_special(all.front()), after = more && tokenizer.is_special(all.back());
  out.emplace_back("tokenizer.ggml.add_bos_token", GgufValue::boolean(before || begins));
  out.emplace_back("tokenizer.ggml.add_eos_token", GgufValue::boolean(after));
}

Metadata byte_level(const Json& json, const Tokenizer& tokenizer, int64_t vocab_size, bool begins,
                    std::vector<std::string>& notes) {
  std::string pre = pre_tokenizer_name(json);
  Metadata out = vocabulary_metadata("gpt2", json_vocabulary(json), vocab_size);
  std::vector<std::string> merges;
  for (const Json& merge : json.at("model").at("merges")) merges.push_back(pair_text(merge));
  out.emplace_back("tokenizer.ggml.pre", GgufValue::string(pre));
  out.emplace_back("tokenizer.ggml.merges", GgufValue::strings(std::move(merges)));
  add_ends(out, tokenizer, begins);
  const Json& normalizer = json.at("normalizer");
  if (!normalizer.is_null()) {
    notes.push_back("llama.cpp does not normalise text as the tokenizer does: " +
                    normalizer.at("type").get<std::string>());
  }
  const Json* bytes = part_of(json.at("pre_tokenizer"), "ByteLevel", "pretokenizers");
  if (bytes && bytes->value("add_prefix_space", false)) {
    notes.push_back("llama.cpp puts no space in front of a text, as the tokenizer does: write it into the prompt");
  }
  return out;
}

// Llama 2's tokenizer as a tokenizer.json: SentencePiece's BPE, whose merges have become a list. llama.cpp merges what
// has the highest score, so the scores are the ranks of the merges.
Metadata byte_fallback(const Json& json, const Tokenizer& tokenizer, int64_t vocab_size, bool begins) {
  Vocabulary vocabulary = json_vocabulary(json);
  std::map<std::string, double> ranks;
  double rank = 0;
  for (const Json& merge : json.at("model").at("merges")) {
    std::string pair = pair_text(merge);
    pair.erase(pair.find(' '), 1);
    ranks.emplace(pair, -(rank += 1));
  }
  int bytes = 0;
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const std::string& token = vocabulary.tokens[id];
    auto found = ranks.find(token);
    vocabulary.scores.push_back(found == ranks.end() ? 0 : found->second);
    bool byte = token.size() == 6 && token.starts_with("<0x") && token.ends_with(">");
    if (byte) vocabulary.kinds[id] = kByte;
    bytes += byte ? 1 : 0;
    if (token == json.at("model").value("unk_token", Json(nullptr))) vocabulary.kinds[id] = kUnknown;
  }
  if (bytes != 256) no_place(fmt::format("byte fallback with {} of 256 bytes", bytes));
  bool prefix = part_of(json.at("normalizer"), "Prepend", "normalizers") ||
                part_of(json.at("pre_tokenizer"), "Metaspace", "pretokenizers");
  Metadata out = vocabulary_metadata("llama", std::move(vocabulary), vocab_size);
  out.emplace_back("tokenizer.ggml.pre", GgufValue::string("default"));
  add_ends(out, tokenizer, begins);
  out.emplace_back("tokenizer.ggml.add_space_prefix", GgufValue::boolean(prefix));
  return out;
}

Metadata sentencepiece(const Tokenizer& tokenizer, int64_t vocab_size, bool begins, std::vector<std::string>& notes) {
  SentencePieceFile file = read_sentencepiece(tokenizer.file_bytes(), "tokenizer.model");
  if (file.kind != SentencePieceFile::Kind::bpe || file.whitespace_as_suffix)
    no_place("a SentencePiece model of another kind");
  Vocabulary vocabulary;
  for (const SentencePieceFile::Piece& piece : file.pieces) {
    vocabulary.put(vocabulary.tokens.size(), piece.text, static_cast<int64_t>(piece.type));
    vocabulary.scores.push_back(static_cast<double>(piece.score));
  }
  Metadata out = vocabulary_metadata("llama", std::move(vocabulary), vocab_size);
  out.emplace_back("tokenizer.ggml.pre", GgufValue::string("default"));
  add_ends(out, tokenizer, begins);
  out.emplace_back("tokenizer.ggml.add_space_prefix", GgufValue::boolean(file.dummy_prefix));
  if (!file.character_map.empty() || file.remove_extra_whitespaces) {
    notes.push_back("llama.cpp does not normalise text as the tokenizer does");
  }
  return out;
}

// A field of a protocol buffer: its key, then a varint, four bytes, or a length and bytes.
class ProtobufWriter {
 public:
  void varint(int field, uint64_t value) {
    key(field, 0);
    number(value);
  }
  void real(int field, float value) {
    key(field, 5);
    uint32_t bits = std::bit_cast<uint32_t>(value);
    bytes_.append(reinterpret_cast<const char*>(&bits), sizeof bits);
  }
  void text(int field, std::string_view value) {
    key(field, 2);
    number(value.size());
    bytes_.append(value);
  }
  const std::string& bytes() const { return bytes_; }

 private:
  void key(int field, int type) { number(static_cast<uint64_t>(field << 3 | type)); }
  void number(uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_.push_back(static_cast<char>(value | 0x80));
    bytes_.push_back(static_cast<char>(value));
  }
  std::string bytes_;
};

// The fields of sentencepiece_model.proto: pieces 1, trainer_spec 2, normalizer_spec 3.
TokenizerFile sentencepiece_of(const GgufFile& file, const std::vector<std::string>& tokens,
                               const std::vector<int64_t>& kinds) {
  const std::vector<double>& scores = file.numbers("tokenizer.ggml.scores");
  ProtobufWriter model;
  for (size_t id = 0; id < tokens.size(); ++id) {
    ProtobufWriter piece;
    piece.text(1, tokens[id]);
    piece.real(2, id < scores.size() ? static_cast<float>(scores[id]) : 0.0f);
    piece.varint(3, static_cast<uint64_t>(kinds[id]));
    model.text(1, piece.bytes());
  }
  ProtobufWriter trainer, normalizer;
  trainer.varint(3, 2);  // model_type: BPE
  bool bytes = std::find(kinds.begin(), kinds.end(), kByte) != kinds.end();
  trainer.varint(35, bytes ? 1 : 0);  // byte_fallback
  bool prefix = !file.has("tokenizer.ggml.add_space_prefix") || file.boolean("tokenizer.ggml.add_space_prefix");
  normalizer.text(1, "identity");
  normalizer.varint(3, prefix ? 1 : 0);  // add_dummy_prefix
  normalizer.varint(4, 0);               // remove_extra_whitespaces
  normalizer.varint(5, 1);               // escape_whitespaces
  model.text(2, trainer.bytes());
  model.text(3, normalizer.bytes());
  return {model.bytes(), "tokenizer.model"};
}

// What puts BOS in front of a text and EOS behind it; null where neither is wanted.
OrderedJson template_of(const GgufFile& file, const std::vector<std::string>& tokens) {
  OrderedJson single = OrderedJson::array(), pair = OrderedJson::array(), used = OrderedJson::object();
  auto special = [&](const std::string& which) {
    std::string flag = "tokenizer.ggml.add_" + which + "_token", key = "tokenizer.ggml." + which + "_token_id";
    if (!file.has(flag) || !file.boolean(flag) || !file.has(key)) return;
    int64_t id = file.integer(key);
    if (id < 0 || id >= static_cast<int64_t>(tokens.size())) {
      throw InputError({.what = "token outside the vocabulary",
                        .where = fmt::format("{}: {}", file.path().string(), key),
                        .got = fmt::format("{}", id),
                        .expected = fmt::format("0..{}", tokens.size() - 1)});
    }
    const std::string& name = tokens[static_cast<size_t>(id)];
    OrderedJson piece{{"SpecialToken", {{"id", name}, {"type_id", 0}}}};
    single.push_back(piece);
    pair.push_back(piece);
    used[name] = {{"id", name}, {"ids", {id}}, {"tokens", {name}}};
  };
  special("bos");
  single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  pair.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  pair.push_back({{"Sequence", {{"id", "B"}, {"type_id", 1}}}});
  special("eos");
  if (used.empty()) return nullptr;
  return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", used}};
}

TokenizerFile byte_level_of(const GgufFile& file, const std::vector<std::string>& tokens,
                            const std::vector<int64_t>& kinds) {
  std::string pre = file.has("tokenizer.ggml.pre") ? file.string("tokenizer.ggml.pre") : "default";
  const PreTokenizer* known = nullptr;
  for (const PreTokenizer& candidate : kPreTokenizers) {
    if (pre == candidate.name) known = &candidate;
  }
  if (!known) {
    throw InputError({.what = "tokenizer that cannot be read: 'tokenizer.ggml.pre'",
                      .where = file.path().string(),
                      .got = pre,
                      .expected = "gpt-2, llama-bpe or qwen2",
                      .hint = kLeaveOut});
  }
  OrderedJson vocabulary = OrderedJson::object(), added = OrderedJson::array();
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (kinds[id] != kUnused) vocabulary[tokens[id]] = id;
    if (kinds[id] != kControl && kinds[id] != kUserDefined && kinds[id] != kUnknown) continue;
    added.push_back({{"id", id},
                     {"content", tokens[id]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", kinds[id] != kUserDefined}});
  }
  OrderedJson bytes{{"type", "ByteLevel"},
                    {"add_prefix_space", false},
                    {"trim_offsets", true},
                    {"use_regex", known->pattern == nullptr}};
  OrderedJson pre_tokenizer = bytes;
  if (known->pattern) {
    OrderedJson split{
        {"type", "Split"}, {"pattern", {{"Regex", known->pattern}}}, {"behavior", "Isolated"}, {"invert", false}};
    pre_tokenizer = {{"type", "Sequence"}, {"pretokenizers", OrderedJson::array({split, bytes})}};
  }
  OrderedJson post = template_of(file, tokens);
  OrderedJson json{{"version", "1.0"},
                   {"truncation", nullptr},
                   {"padding", nullptr},
                   {"added_tokens", added},
                   {"normalizer", nullptr},
                   {"pre_tokenizer", pre_tokenizer},
                   {"post_processor", post},
                   {"decoder", bytes},
                   {"model",
                    {{"type", "BPE"},
                     {"dropout", nullptr},
                     {"unk_token", nullptr},
                     {"continuing_subword_prefix", nullptr},
                     {"end_of_word_suffix", nullptr},
                     {"fuse_unk", false},
                     {"byte_fallback", false},
                     {"ignore_merges", pre == "llama-bpe"},
                     {"vocab", vocabulary},
                     {"merges", file.strings("tokenizer.ggml.merges")}}}};
  return {json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace), "tokenizer.json"};
}

}  // namespace

Metadata gguf_tokenizer(const Tokenizer& tokenizer, int64_t vocab_size, bool begins, std::vector<std::string>& notes) {
  if (tokenizer.format() == TokenizerFormat::sentencepiece) return sentencepiece(tokenizer, vocab_size, begins, notes);
  // The tokenizer was read from these bytes: they hold together.
  Json json = parse_json(tokenizer.file_bytes(), "tokenizer.json");
  std::string type = json.at("model").value("type", "BPE");
  if (type != "BPE") no_place(type);
  bool fallback = json.at("model").value("byte_fallback", false);
  return fallback ? byte_fallback(json, tokenizer, vocab_size, begins)
                  : byte_level(json, tokenizer, vocab_size, begins, notes);
}

TokenizerFile tokenizer_of_gguf(const GgufFile& file) {
  if (!file.has("tokenizer.ggml.model")) return {};
  const std::string& model = file.string("tokenizer.ggml.model");
  if (model == "none" || model == "no_vocab") return {};
  if (model != "gpt2" && model != "llama") {
    throw InputError({.what = "tokenizer that cannot be read: 'tokenizer.ggml.model'",
                      .where = file.path().string(),
                      .got = model,
                      .expected = "gpt2 or llama",
                      .hint = kLeaveOut});
  }
  const std::vector<std::string>& tokens = file.strings("tokenizer.ggml.tokens");
  std::vector<int64_t> kinds(tokens.size(), kNormal);
  if (file.has("tokenizer.ggml.token_type")) kinds = file.integers("tokenizer.ggml.token_type");
  if (kinds.size() != tokens.size() || tokens.empty()) {
    throw InputError({.what = "tokens and their types do not fit",
                      .where = file.path().string(),
                      .got = fmt::format("{} and {}", tokens.size(), kinds.size()),
                      .expected = "as many types as tokens"});
  }
  return model == "gpt2" ? byte_level_of(file, tokens, kinds) : sentencepiece_of(file, tokens, kinds);
}

}  // namespace tandem
