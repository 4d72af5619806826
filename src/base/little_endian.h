// Numbers as files have them, least significant byte first: as they lie in the memory of the machines we run on.
#pragma once

#include <bit>
#include <string>
#include <type_traits>

namespace tandem {

static_assert(std::endian::native == std::endian::little);

// The bytes of the values, one after the other.
template <class... T>
std::string little_endian(T... values) {
  static_assert((std::is_arithmetic_v<T> && ...));
  std::string out;
  (out.append(reinterpret_cast<const char*>(&values), sizeof values), ...);
  return out;
}

}  // namespace tandem
