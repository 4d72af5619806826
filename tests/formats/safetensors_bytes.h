// Builds safetensors files by hand, wrong ones too.
#pragma once

#include <cstring>
#include <string>
#include <string_view>

namespace tandem::test {

inline std::string safetensors_bytes(std::string_view header, std::string_view data) {
  uint64_t length = header.size();
  std::string bytes(sizeof length, '\0');
  std::memcpy(bytes.data(), &length, sizeof length);
  return bytes.append(header).append(data);
}

}  // namespace tandem::test
