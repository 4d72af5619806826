// What the documents of a corpus are.
#pragma once

#include <cstdint>

namespace tandem {

enum class Records : uint8_t {
  text,           // documents: every token is predicted
  conversations,  // prompts and responses: only the responses are predicted
};

}  // namespace tandem
