#include "infer/allocations.h"

#include <cstdlib>
#include <new>

namespace {
thread_local int64_t count = 0;
}

int64_t tandem::test::allocations() { return count; }

// The other forms of new and delete call these two, except the aligned ones, which containers of plain numbers do not
// use.
void* operator new(std::size_t size) {
  ++count;
  if (void* memory = std::malloc(size > 0 ? size : 1)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
