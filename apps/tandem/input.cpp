#include "input.h"

#include <iostream>
#include <iterator>

namespace tandem::app {

std::string read_standard_input() {
  return {std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
}

}  // namespace tandem::app
