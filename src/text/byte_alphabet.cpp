#include "text/byte_alphabet.h"

#include "text/unicode.h"

namespace tandem {
namespace {

bool stands_for_itself(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

}  // namespace

ByteAlphabet::ByteAlphabet() {
  bytes_.fill(-1);
  uint32_t next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    uint32_t c = stands_for_itself(byte) ? static_cast<uint32_t>(byte) : next++;
    characters_[static_cast<size_t>(byte)] = c;
    append_code_point(texts_[static_cast<size_t>(byte)], c);
    bytes_[c] = static_cast<int16_t>(byte);
  }
}

const ByteAlphabet& ByteAlphabet::get() {
  static const ByteAlphabet alphabet;
  return alphabet;
}

std::string ByteAlphabet::encode(std::string_view bytes) const {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (char byte : bytes) out += texts_[static_cast<uint8_t>(byte)];
  return out;
}

std::optional<std::string> ByteAlphabet::decode(std::string_view text) const {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    uint32_t c = next_code_point(text, at);
    if (c >= kCharacters || bytes_[c] < 0) return std::nullopt;
    out += static_cast<char>(bytes_[c]);
  }
  return out;
}

}  // namespace tandem
