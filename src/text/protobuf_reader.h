// The fields of a Protocol Buffers message, one after the other
// (https://protobuf.dev/programming-guides/encoding). Trusts nothing.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace tandem {

class ProtobufReader {
 public:
  enum class Wire { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };
  struct Field {
    uint32_t number = 0;
    Wire wire = Wire::varint;
    uint64_t value = 0;      // varint, fixed64, fixed32
    std::string_view bytes;  // bytes: into the message
  };

  // `where` names the file in errors. Both must outlive the reader.
  ProtobufReader(std::string_view message, const std::string& where) : message_(message), where_(where) {}

  // False at the end. InputError when the message is cut or not one.
  bool next(Field& field);

 private:
  [[noreturn]] void broken(const char* expected) const;
  uint64_t read_varint();
  uint64_t read_fixed(size_t bytes);

  std::string_view message_;
  const std::string& where_;
  size_t at_ = 0;
};

}  // namespace tandem
