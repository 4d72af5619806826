#include "kernels/matrix_library.h"

#include <fmt/format.h>

#include <oneapi/dnnl/dnnl.hpp>

namespace tandem::kernels {

std::string matrix_library() {
  const dnnl_version_t* v = dnnl::version();
  return fmt::format("oneDNN {}.{}.{}", v->major, v->minor, v->patch);
}

}  // namespace tandem::kernels
