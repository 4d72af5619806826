// Puts a tokenizer together from a SentencePiece .model.
#include <sentencepiece_processor.h>

#include "base/error.h"
#include "text/sentencepiece_models.h"
#include "text/tokenizer_impl.h"

namespace tandem {
namespace {

using Type = SentencePieceFile::Type;
using Library = sentencepiece::SentencePieceProcessor;

[[noreturn]] void refused(const std::string& where, const std::string& reason) {
  throw InputError({.what = "SentencePiece cannot read the model", .where = where, .hint = reason});
}

std::unique_ptr<const Library> load_library(std::string_view bytes, const std::string& where) {
  auto library = std::make_unique<Library>();
  std::string reason;
  try {
    auto status = library->LoadFromSerializedProto({bytes.data(), bytes.size()});
    if (!status.ok()) reason = status.ToString();
  } catch (const std::exception& error) {
    reason = error.what();
  }
  if (!reason.empty()) refused(where, reason);
  return library;
}

std::string tagged(const SentencePieceFile::Piece& piece) {
  auto with = [&](SentencePieceTag tag, const std::string& text) { return static_cast<char>(tag) + text; };
  switch (piece.type) {
    case Type::control: return with(SentencePieceTag::control, "");
    case Type::unknown: return with(SentencePieceTag::unknown, "");
    case Type::byte: {
      int byte = std::stoi(piece.text.substr(3, 2), nullptr, 16);
      return with(SentencePieceTag::byte, std::string(1, static_cast<char>(byte)));
    }
    default: return with(SentencePieceTag::text, piece.text);
  }
}

void place_pieces(const SentencePieceFile& file, Tokenizer::Impl& parts) {
  for (const SentencePieceFile::Piece& piece : file.pieces) {
    parts.tokens.push_back(piece.text);
    parts.decoding.push_back(tagged(piece));
    parts.special.push_back(piece.type == Type::control);
  }
}

// User-defined pieces are found before any merge, in normalized text.
void find_user_defined(const SentencePieceFile& file, Tokenizer::Impl& parts) {
  for (size_t id = 0; id < file.pieces.size(); ++id) {
    if (file.pieces[id].type != Type::user_defined) continue;
    parts.added.push_back({.id = static_cast<int32_t>(id), .content = file.pieces[id].text, .normalized = true});
  }
  auto finder = [&] {
    std::vector<AddedTokenFinder::Entry> entries;
    for (const AddedToken& token : parts.added) entries.push_back({token.content, &token});
    return AddedTokenFinder(std::move(entries));
  };
  parts.all_added.in_normalized = finder();
  parts.plain_added.in_normalized = finder();
}

}  // namespace

SentencePieceByLibrary::SentencePieceByLibrary(const SentencePieceFile& file, std::unique_ptr<const Library> library)
    : SentencePieceModel(file), library_(std::move(library)) {}
SentencePieceByLibrary::~SentencePieceByLibrary() = default;

void SentencePieceByLibrary::encode_word(std::string_view text, std::vector<int32_t>& ids) const {
  std::vector<int> found;
  auto status = library_->Encode({text.data(), text.size()}, &found);
  if (!status.ok()) {
    throw InputError({.what = "SentencePiece cannot encode the text",
                      .got = fmt::format("{} bytes", text.size()),
                      .hint = status.ToString()});
  }
  ids.insert(ids.end(), found.begin(), found.end());
}

std::unique_ptr<Tokenizer::Impl> read_tokenizer_sentencepiece(std::string_view bytes, const std::string& where) {
  const SentencePieceFile file = read_sentencepiece(bytes, where);
  SentencePieceNormalizer normalizer(file, where);  // complains about a broken map, which the library would trust
  auto library = load_library(bytes, where);

  auto parts = std::make_unique<Tokenizer::Impl>();
  parts->format = TokenizerFormat::sentencepiece;
  if (file.kind == SentencePieceFile::Kind::unigram) {
    parts->model = std::make_unique<SentencePieceUnigram>(file);
  } else if (file.kind == SentencePieceFile::Kind::bpe) {
    parts->model = make_sentencepiece_bpe(file);
    if (parts->model != nullptr) find_user_defined(file, *parts);
  }
  if (parts->model != nullptr) {
    parts->normalizer = Normalizer::of(std::move(normalizer));
  } else {
    parts->model = std::make_unique<SentencePieceByLibrary>(file, std::move(library));
  }
  place_pieces(file, *parts);
  bool first = file.dummy_prefix, all = file.remove_extra_whitespaces;
  parts->decoder = Decoder::of({.drop_first_space = first, .drop_all_spaces = all, .unknown = file.unknown_surface});
  parts->bytes = bytes;
  parts->hash = content_hash(bytes);
  return parts;
}

}  // namespace tandem
