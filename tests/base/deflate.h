// Bytes compressed by zlib, for readers of what others have compressed.
#pragma once

#include <gtest/gtest.h>
#include <zlib.h>

#include <string>

namespace tandem::test {

// `window_bits` as in deflateInit2(): -MAX_WBITS is a bare stream, MAX_WBITS + 16 gzip.
inline std::string deflated(const std::string& bytes, int window_bits) {
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, 9, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(deflateBound(&stream, bytes.size()) + 32, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

inline std::string gzip(const std::string& text) { return deflated(text, MAX_WBITS + 16); }

}  // namespace tandem::test
