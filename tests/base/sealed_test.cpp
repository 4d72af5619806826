#include "base/sealed.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace tandem {
namespace {

const Seal kSeal{"TESTBYTE", 3, "0123456789abcdef"};

std::string sealed(std::string_view content) {
  std::string bytes(kSealBytes, '\0');
  bytes += content;
  seal(bytes, kSeal);
  return bytes;
}

TEST(Sealed, WhatWasSealedComesBack) {
  for (const char* content : {"", "a", "some bytes that are longer than a word"}) {
    std::string bytes = sealed(content);
    EXPECT_EQ(unseal(bytes, kSeal, "test"), content);
    EXPECT_EQ(owner_of(bytes, kSeal, "test"), kSeal.owner);
  }
}

TEST(Sealed, EveryBitCounts) {
  const std::string bytes = sealed("content");
  for (size_t i = 0; i < bytes.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string damaged = bytes;
      damaged[i] = static_cast<char>(damaged[i] ^ (1 << bit));
      EXPECT_THROW(unseal(damaged, kSeal, "test"), InputError) << "bit " << bit << " of byte " << i;
    }
    EXPECT_THROW(unseal(std::string_view(bytes).substr(0, i), kSeal, "test"), InputError) << "cut at " << i;
  }
  EXPECT_THROW(unseal(bytes + "x", kSeal, "test"), InputError);
}

TEST(Sealed, OthersAreTold) {
  std::string bytes = sealed("content");
  EXPECT_THROW(unseal(bytes, {"TESTOTHE", 3, kSeal.owner}, "test"), InputError);
  EXPECT_THROW(unseal(bytes, {kSeal.kind, 4, kSeal.owner}, "test"), InputError);
  EXPECT_THROW(unseal(bytes, {kSeal.kind, 3, "fedcba9876543210"}, "test"), InputError);
  EXPECT_EQ(owner_of(bytes, {kSeal.kind, 3, "fedcba9876543210"}, "test"), kSeal.owner);
}

}  // namespace
}  // namespace tandem
