#include "text/sentencepiece_file.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <set>

#include "base/error.h"
#include "text/protobuf_reader.h"
#include "text/unicode.h"

namespace tandem {
namespace {

using Field = ProtobufReader::Field;
using Wire = ProtobufReader::Wire;
using Type = SentencePieceFile::Type;
using Kind = SentencePieceFile::Kind;

// The trainer's pieces have at most 16 characters; what users define may be longer.
constexpr size_t kLongestPiece = 1024;

class Reader {
 public:
  explicit Reader(const std::string& where) : where_(where) {}

  SentencePieceFile run(std::string_view bytes) {
    each_field(bytes, [&](const Field& field) {
      switch (field.number) {
        case 1: add_piece(text_of(field)); break;
        case 2: read_trainer(text_of(field)); break;
        case 3: read_normalizer(text_of(field)); break;
        case 5: read_denormalizer(text_of(field)); break;
        default: break;
      }
    });
    check_pieces();
    return std::move(file_);
  }

 private:
  template <class Visit>
  void each_field(std::string_view message, Visit visit) {
    ProtobufReader reader(message, where_);
    for (Field field; reader.next(field);) visit(field);
  }

  [[noreturn]] void wrong(const std::string& what, const std::string& got, const std::string& expected) const {
    throw InputError({.what = what, .where = where_, .got = got, .expected = expected});
  }

  void require_wire(const Field& field, Wire wire) const {
    if (field.wire == wire) return;
    wrong("broken SentencePiece model", fmt::format("field {} of another type", field.number), "the published schema");
  }
  std::string_view text_of(const Field& field) const {
    require_wire(field, Wire::bytes);
    return field.bytes;
  }
  bool flag_of(const Field& field) const {
    require_wire(field, Wire::varint);
    return field.value != 0;
  }

  std::string piece_name() const { return fmt::format("piece {}", file_.pieces.size()); }

  void add_piece(std::string_view message) {
    SentencePieceFile::Piece piece;
    each_field(message, [&](const Field& field) {
      if (field.number == 1) {
        piece.text = text_of(field);
      } else if (field.number == 2) {
        require_wire(field, Wire::fixed32);
        piece.score = std::bit_cast<float>(static_cast<uint32_t>(field.value));
      } else if (field.number == 3) {
        require_wire(field, Wire::varint);
        if (field.value < 1 || field.value > 6) {
          wrong("unknown type of piece", fmt::format("{} of {}", field.value, piece_name()), "1 to 6");
        }
        piece.type = static_cast<Type>(field.value);
      }
    });
    check(piece);
    file_.pieces.push_back(std::move(piece));
  }

  void check(const SentencePieceFile::Piece& piece) const {
    if (piece.text.empty() || piece.text.size() > kLongestPiece) {
      wrong("length of a piece", fmt::format("{} bytes in {}", piece.text.size(), piece_name()),
            fmt::format("1 to {}", kLongestPiece));
    }
    if (valid_utf8_prefix(piece.text) != piece.text.size() || piece.text.find('\0') != std::string::npos) {
      wrong("text of a piece", piece_name(), "UTF-8 without zero bytes");
    }
    if (!std::isfinite(piece.score))
      wrong("score of a piece", fmt::format("{} of {}", piece.score, piece_name()), "a number");
  }

  void read_trainer(std::string_view message) {
    each_field(message, [&](const Field& field) {
      if (field.number == 3) {
        require_wire(field, Wire::varint);
        if (field.value < 1 || field.value > 4) {
          wrong("unknown kind of SentencePiece model", fmt::format("{}", field.value),
                "1 (unigram), 2 (BPE), 3 (word) or 4 (character)");
        }
        file_.kind = static_cast<Kind>(field.value);
      } else if (field.number == 24) {
        file_.whitespace_as_suffix = flag_of(field);
      } else if (field.number == 35) {
        file_.byte_fallback = flag_of(field);
      } else if (field.number == 44) {
        file_.unknown_surface = text_of(field);
        if (valid_utf8_prefix(file_.unknown_surface) != file_.unknown_surface.size()) {
          wrong("surface of the unknown piece", fmt::format("{} bytes", file_.unknown_surface.size()), "UTF-8");
        }
      }
    });
  }

  void read_normalizer(std::string_view message) {
    each_field(message, [&](const Field& field) {
      switch (field.number) {
        case 2: file_.character_map = text_of(field); break;
        case 3: file_.dummy_prefix = flag_of(field); break;
        case 4: file_.remove_extra_whitespaces = flag_of(field); break;
        case 5: file_.escape_whitespaces = flag_of(field); break;
        default: break;
      }
    });
  }

  void read_denormalizer(std::string_view message) {
    each_field(message, [&](const Field& field) {
      if (field.number == 2 && !text_of(field).empty()) {
        wrong("a denormalizer is not supported", fmt::format("a map of {} bytes", field.bytes.size()), "none");
      }
    });
  }

  void check_pieces() {
    if (file_.pieces.empty()) wrong("no pieces", "none", "a SentencePiece model");
    std::set<std::string_view> seen;
    int unknown = 0, bytes = 0;
    for (size_t id = 0; id < file_.pieces.size(); ++id) {
      const SentencePieceFile::Piece& piece = file_.pieces[id];
      if (!seen.insert(piece.text).second) wrong("piece given twice", "'" + piece.text + "'", "different pieces");
      if (piece.type == Type::unknown) {
        file_.unknown = static_cast<int32_t>(id);
        ++unknown;
      }
      if (piece.type == Type::byte) {
        if (!is_byte(piece.text)) wrong("wrong byte piece", "'" + piece.text + "'", "<0x00> to <0xFF>");
        ++bytes;
      }
    }
    if (unknown != 1) wrong("number of unknown pieces", fmt::format("{}", unknown), "1");
    int expected = file_.byte_fallback ? 256 : 0;
    if (bytes != expected) wrong("number of byte pieces", fmt::format("{}", bytes), fmt::format("{}", expected));
  }

  static bool is_byte(std::string_view text) {
    auto digit = [](char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F'); };
    return text.size() == 6 && text.starts_with("<0x") && digit(text[3]) && digit(text[4]) && text[5] == '>';
  }

  const std::string& where_;
  SentencePieceFile file_;
};

}  // namespace

bool SentencePieceFile::has(Type type) const {
  return std::any_of(pieces.begin(), pieces.end(), [&](const Piece& piece) { return piece.type == type; });
}

SentencePieceFile read_sentencepiece(std::string_view bytes, const std::string& where) {
  return Reader(where).run(bytes);
}

}  // namespace tandem
