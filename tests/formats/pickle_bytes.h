// Builds pickles by hand, wrong ones too.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "formats/zip_bytes.h"

namespace tandem::test {

inline std::string pickle_text(std::string_view text) {
  return "X" + little_endian(static_cast<uint32_t>(text.size())) + std::string(text);
}
inline std::string pickle_int(int64_t value) { return "\x8a\x08" + little_endian(value); }
inline std::string pickle_tuple(const std::vector<int64_t>& values) {
  std::string out = "(";
  for (int64_t v : values) out += pickle_int(v);
  return out + "t";
}
// A pickle of protocol 2 that gives what `opcodes` leave on the stack.
inline std::string pickle(const std::string& opcodes) { return "\x80\x02" + opcodes + "."; }
// {"w": ...}
inline std::string pickle_of_w(const std::string& opcodes) { return pickle("}" + pickle_text("w") + opcodes + "s"); }

// The fields of a tensor, all of which may be wrong.
struct PickledTensor {
  std::string storage_type = "FloatStorage", key = "0";
  int64_t storage_elements = 6, offset = 0;
  std::vector<int64_t> sizes{2, 3}, strides{3, 1};

  std::string opcodes() const {
    return "ctorch._utils\n_rebuild_tensor_v2\n((" + pickle_text("storage") + "ctorch\n" + storage_type + "\n" +
           pickle_text(key) + pickle_text("cpu") + pickle_int(storage_elements) + "tQ" + pickle_int(offset) +
           pickle_tuple(sizes) + pickle_tuple(strides) + "\x89" + "ccollections\nOrderedDict\n)RtR";
  }
};

inline std::string checkpoint(const std::string& pickled, const std::string& storage = std::string(24, '\1')) {
  return zip_bytes({{"a/data.pkl", pickled}, {"a/byteorder", "little"}, {"a/data/0", storage}});
}

}  // namespace tandem::test
