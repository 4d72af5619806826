#include "kernels/isa.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "base/error.h"
#include "kernels/context.h"

namespace tandem {
namespace {

// Sets TANDEM_ISA for the length of a scope.
class IsaVariable {
 public:
  explicit IsaVariable(const char* value) {
    if (const char* before = std::getenv("TANDEM_ISA")) before_ = before;
    ::setenv("TANDEM_ISA", value, 1);
  }
  ~IsaVariable() {
    if (before_.empty()) {
      ::unsetenv("TANDEM_ISA");
    } else {
      ::setenv("TANDEM_ISA", before_.c_str(), 1);
    }
  }

 private:
  std::string before_;
};

TEST(Isa, EveryLowerOneCanBeForced) {
  for (Isa isa : {Isa::avx2, Isa::avx512, Isa::avx512_bf16, Isa::amx}) {
    IsaVariable variable(std::string(isa_name(isa)).c_str());
    if (isa <= detect_isa()) {
      EXPECT_EQ(choose_isa(), isa);
    } else {
      EXPECT_THROW(choose_isa(), InputError);
      EXPECT_THROW(Context(1, isa), InputError);
    }
  }
}

TEST(Isa, UnknownNameIsAClearError) {
  IsaVariable variable("avx1024");
  try {
    choose_isa();
    FAIL() << "accepted";
  } catch (const InputError& error) {
    EXPECT_NE(std::string(error.what()).find("TANDEM_ISA"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("avx512_bf16"), std::string::npos) << error.what();
  }
}

TEST(Isa, EmptyVariableMeansNone) {
  IsaVariable variable("");
  EXPECT_EQ(choose_isa(), detect_isa());
}

TEST(Isa, OnlyTheLastTwoMultiplyBf16) {
  EXPECT_FALSE(has_bf16_products(Isa::avx512));
  EXPECT_TRUE(has_bf16_products(Isa::avx512_bf16));
}

}  // namespace
}  // namespace tandem
