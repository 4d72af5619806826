#include "text/protobuf_reader.h"

#include "base/error.h"

namespace tandem {

void ProtobufReader::broken(const char* expected) const {
  throw InputError({.what = "broken SentencePiece model",
                    .where = where_,
                    .got = fmt::format("byte {} of a message of {}", at_, message_.size()),
                    .expected = expected});
}

uint64_t ProtobufReader::read_varint() {
  uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    if (at_ == message_.size()) broken("the rest of a number");
    uint64_t byte = static_cast<unsigned char>(message_[at_++]);
    value |= (byte & 0x7F) << shift;
    if (byte < 0x80) return value;
  }
  broken("a number of at most 10 bytes");
}

uint64_t ProtobufReader::read_fixed(size_t bytes) {
  if (message_.size() - at_ < bytes) broken("the rest of a number");
  uint64_t value = 0;
  for (size_t i = 0; i < bytes; ++i) value |= uint64_t{static_cast<unsigned char>(message_[at_ + i])} << (8 * i);
  at_ += bytes;
  return value;
}

bool ProtobufReader::next(Field& field) {
  if (at_ == message_.size()) return false;
  uint64_t tag = read_varint();
  constexpr uint64_t kMostNumber = (uint64_t{1} << 29) - 1;
  if (tag >> 3 == 0 || tag >> 3 > kMostNumber) broken("a field number");
  field = {.number = static_cast<uint32_t>(tag >> 3), .wire = static_cast<Wire>(tag & 7)};
  switch (field.wire) {
    case Wire::varint: field.value = read_varint(); break;
    case Wire::fixed64: field.value = read_fixed(8); break;
    case Wire::fixed32: field.value = read_fixed(4); break;
    case Wire::bytes: {
      uint64_t size = read_varint();
      if (size > message_.size() - at_) broken("the rest of a field");
      field.bytes = message_.substr(at_, size);
      at_ += size;
      break;
    }
    default: broken("a field of a known kind");
  }
  return true;
}

}  // namespace tandem
