#include "text/tokenizer.h"

#include "base/error.h"
#include "base/file.h"
#include "text/tokenizer_impl.h"
#include "text/unicode.h"

namespace tandem {

void Tokenizer::Impl::encode_words(std::string_view text, bool at_start, std::vector<int32_t>& ids) const {
  pre_tokenizer.split(text, at_start, [&](std::string_view word) { model->encode_word(word, ids); });
}

void Tokenizer::Impl::encode_part(std::string_view text, bool at_start, const Finders& finders,
                                  std::vector<int32_t>& ids) const {
  std::string normalized;
  if (!normalizer.empty()) {
    normalized = normalizer.apply(text, &at_start);
    text = normalized;
  }
  if (finders.in_normalized.empty()) return encode_words(text, at_start, ids);
  for (const TokenOrText& part : finders.in_normalized.split(text)) {
    if (part.id) {
      ids.push_back(*part.id);
    } else {
      encode_words(text.substr(part.begin, part.end - part.begin), at_start && part.begin == 0, ids);
    }
  }
}

std::vector<int32_t> Tokenizer::Impl::encode(std::string_view text, const Finders& finders) const {
  require_utf8(text, "");
  std::vector<int32_t> ids;
  ids.reserve(text.size() / 4 + 8);
  for (const TokenOrText& part : finders.in_text.split(text)) {
    if (part.id) {
      ids.push_back(*part.id);
    } else {
      encode_part(text.substr(part.begin, part.end - part.begin), part.begin == 0, finders, ids);
    }
  }
  return ids;
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

Tokenizer Tokenizer::load(const std::filesystem::path& path) { return parse(read_file(path), path.string()); }

Tokenizer Tokenizer::parse(std::string_view json, const std::string& where) {
  return Tokenizer(read_tokenizer_json(json, where));
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool add_special) const {
  std::vector<int32_t> ids = impl_->encode(text, impl_->all_added);
  return add_special ? impl_->post_processor.apply(std::move(ids)) : ids;
}

std::vector<int32_t> Tokenizer::encode_plain(std::string_view text) const {
  return impl_->encode(text, impl_->plain_added);
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

const std::string& Tokenizer::json() const { return impl_->json; }
const std::string& Tokenizer::hash() const { return impl_->hash; }

}  // namespace tandem
