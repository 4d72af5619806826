// Which library stands behind the matrix products.
#pragma once

#include <string>

namespace tandem::kernels {

// Name and version of the library that is loaded: "oneDNN 2.6.3".
std::string matrix_library();

}  // namespace tandem::kernels
