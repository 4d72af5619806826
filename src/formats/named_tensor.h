// A tensor with its name in a file, as the writers of all tensor files take it.
#pragma once

#include <string>

#include "tensor/tensor.h"

namespace tandem {

struct NamedTensor {
  std::string name;
  Tensor tensor;
};

}  // namespace tandem
