#include "text/tokenizer.h"

#include <algorithm>
#include <cctype>
#include <span>

#include "base/error.h"
#include "base/file.h"
#include "text/byte_alphabet.h"
#include "text/token_table.h"
#include "text/tokenizer_impl.h"
#include "text/unicode.h"

namespace tandem {

namespace {

// One text on its way to ids.
class Encoding {
 public:
  Encoding(const Tokenizer::Impl& parts, const Tokenizer::Impl::Finders& finders, WordCache* cache)
      : parts_(parts), finders_(finders), cache_(cache), boundary_(parts.model->boundary()) {}

  std::vector<int32_t> run(std::string_view text) {
    require_utf8(text, "");
    ids_.reserve(text.size() / 4 + 8);
    for (const TokenOrText& part : finders_.in_text.split(text)) {
      if (part.id) {
        ids_.push_back(*part.id);
      } else {
        encode_part(text.substr(part.begin, part.end - part.begin), part.begin == 0);
      }
    }
    return std::move(ids_);
  }

 private:
  void encode_part(std::string_view text, bool at_start) {
    std::string normalized;
    if (!parts_.normalizer.empty()) {
      normalized = parts_.normalizer.apply(text, parts_.pre_tokenizer.asks_for_start() ? &at_start : nullptr);
      text = normalized;
    }
    if (finders_.in_normalized.empty()) return encode_words(text, at_start);
    for (const TokenOrText& part : finders_.in_normalized.split(text)) {
      if (part.id) {
        ids_.push_back(*part.id);
      } else {
        encode_words(text.substr(part.begin, part.end - part.begin), at_start && part.begin == 0);
      }
    }
  }

  void encode_words(std::string_view text, bool at_start) {
    if (boundary_.empty()) {
      parts_.pre_tokenizer.split(text, at_start, [&](std::string_view word) { encode_word(word); });
    } else {
      parts_.pre_tokenizer.split(text, at_start, [&](std::string_view word) { cut_and_encode(word); });
    }
  }

  // Cuts where the model says that it makes no difference.
  void cut_and_encode(std::string_view word) {
    size_t begin = 0;
    for (size_t at = 0; at < word.size();) {
      size_t behind = at;
      while (word.substr(behind).starts_with(boundary_)) behind += boundary_.size();
      size_t end = std::min(word.find(boundary_, behind), word.size());
      encode_word(word.substr(begin, end - begin));
      begin = at = end;
    }
  }

  void encode_word(std::string_view word) {
    if (cache_ == nullptr || word.size() > WordCache::kMostBytes) return parts_.model->encode_word(word, ids_);
    uint64_t hash = hash_bytes(word);
    if (cache_->append(word, hash, ids_)) return;
    size_t before = ids_.size();
    parts_.model->encode_word(word, ids_);
    cache_->remember(word, hash, std::span(ids_).subspan(before));
  }

  const Tokenizer::Impl& parts_;
  const Tokenizer::Impl::Finders& finders_;
  WordCache* cache_;
  std::string_view boundary_;
  std::vector<int32_t> ids_;
};

}  // namespace

std::vector<int32_t> Tokenizer::Impl::encode(std::string_view text, const Finders& finders, WordCache* cache) const {
  return Encoding(*this, finders, cache).run(text);
}

std::string content_hash(std::string_view bytes) {
  uint64_t h = 0xCBF29CE484222325u;
  for (char byte : bytes) h = (h ^ static_cast<unsigned char>(byte)) * 0x100000001B3u;
  return fmt::format("{:016x}", h);
}

void Tokenizer::Impl::check_id(int32_t id) const {
  bool inside = id >= 0 && static_cast<size_t>(id) < tokens.size();
  if (inside && !tokens[static_cast<size_t>(id)].empty()) return;
  throw InputError({.what = "id outside the vocabulary",
                    .got = fmt::format("{}", id),
                    .expected = inside ? "an id that has a token" : fmt::format("0 to {}", tokens.size() - 1)});
}

Tokenizer::Tokenizer(std::unique_ptr<const Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

TokenizerFormat tokenizer_format(const std::filesystem::path& path) {
  return path.extension() == ".model" ? TokenizerFormat::sentencepiece : TokenizerFormat::json;
}

namespace {

const char* file_name_of(TokenizerFormat format) {
  return format == TokenizerFormat::json ? "tokenizer.json" : "tokenizer.model";
}

}  // namespace

Tokenizer Tokenizer::load(const std::filesystem::path& path) {
  return parse(read_file(path), path.string(), tokenizer_format(path));
}

Tokenizer Tokenizer::load_from_folder(const std::filesystem::path& folder) {
  auto json = folder / file_name_of(TokenizerFormat::json);
  auto model = folder / file_name_of(TokenizerFormat::sentencepiece);
  bool has_json = std::filesystem::exists(json), has_model = std::filesystem::exists(model);
  if (has_json == has_model) {
    throw InputError({.what = has_json ? "two tokenizers" : "no tokenizer",
                      .where = folder.string(),
                      .expected = "tokenizer.json or tokenizer.model"});
  }
  return load(has_json ? json : model);
}

Tokenizer Tokenizer::parse(std::string_view bytes, const std::string& where, TokenizerFormat format) {
  bool json = format == TokenizerFormat::json;
  return Tokenizer(json ? read_tokenizer_json(bytes, where) : read_tokenizer_sentencepiece(bytes, where));
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool add_special) const {
  std::vector<int32_t> ids = impl_->encode(text, impl_->all_added, nullptr);
  return add_special ? impl_->post_processor.apply(std::move(ids)) : ids;
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool add_special, WordCache& cache) const {
  std::vector<int32_t> ids = impl_->encode(text, impl_->all_added, &cache);
  return add_special ? impl_->post_processor.apply(std::move(ids)) : ids;
}

std::vector<int32_t> Tokenizer::encode_plain(std::string_view text) const {
  return impl_->encode(text, impl_->plain_added, nullptr);
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  DecodeStream stream(impl_->decoder);
  std::string text;
  for (int32_t id : ids) {
    impl_->check_id(id);
    if (!skip_special || !impl_->special[static_cast<size_t>(id)]) {
      stream.push(impl_->decoding[static_cast<size_t>(id)], text);
    }
  }
  stream.finish(text);
  return text;
}

int32_t Tokenizer::vocab_size() const { return static_cast<int32_t>(impl_->tokens.size()); }

std::optional<int32_t> Tokenizer::token_to_id(std::string_view token) const {
  for (const AddedToken& added : impl_->added) {
    if (added.content == token) return added.id;
  }
  int32_t id = impl_->model->find(token);
  return id < 0 ? std::nullopt : std::optional(id);
}

std::string Tokenizer::id_to_token(int32_t id) const {
  impl_->check_id(id);
  return impl_->tokens[static_cast<size_t>(id)];
}

bool Tokenizer::is_special(int32_t id) const {
  impl_->check_id(id);
  return impl_->special[static_cast<size_t>(id)];
}

namespace {

bool is_byte_token(std::string_view token) {
  auto hex = [&](size_t at) { return std::isxdigit(static_cast<unsigned char>(token[at])) != 0; };
  return token.size() == 6 && token.starts_with("<0x") && token[5] == '>' && hex(3) && hex(4);
}

std::string decoded(const Decoder& decoder, std::string_view token, int times) {
  DecodeStream stream(decoder);
  std::string text;
  for (int i = 0; i < times; ++i) stream.push(token, text);
  stream.finish(text);
  return text;
}

}  // namespace

std::vector<std::string> Tokenizer::token_bytes(TokenPlace place) const {
  std::vector<std::string> bytes(impl_->tokens.size());
  for (size_t id = 0; id < bytes.size(); ++id) {
    if (impl_->tokens[id].empty() || impl_->special[id]) continue;
    const std::string& token = impl_->decoding[id];
    if (impl_->decoder.is_byte_level()) {
      bytes[id] = ByteAlphabet::get().decode(token).value_or(token);
    } else if (impl_->decoder.has_byte_tokens() && is_byte_token(impl_->tokens[id])) {
      bytes[id] = static_cast<char>(std::stoi(impl_->tokens[id].substr(3, 2), nullptr, 16));
    } else {
      std::string once = decoded(impl_->decoder, token, 1);
      // Behind another token, for the first one of a text may lose its space.
      std::string twice = place == TokenPlace::inside ? decoded(impl_->decoder, token, 2) : "";
      bytes[id] = place == TokenPlace::first ? once : twice.substr(std::min(once.size(), twice.size()));
    }
  }
  return bytes;
}

std::vector<int32_t> Tokenizer::text_bytes() const {
  std::vector<int32_t> sizes;
  for (const std::string& bytes : token_bytes(TokenPlace::inside)) sizes.push_back(static_cast<int32_t>(bytes.size()));
  return sizes;
}

const std::string& Tokenizer::file_bytes() const { return impl_->bytes; }
std::string Tokenizer::file_name() const { return file_name_of(impl_->format); }
TokenizerFormat Tokenizer::format() const { return impl_->format; }
const std::string& Tokenizer::hash() const { return impl_->hash; }

}  // namespace tandem
