#include "output.h"

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/error.h"
#include "base/json.h"

namespace tandem::app {
namespace {

[[noreturn]] void fail(int error) {
  if (error == EPIPE) throw OutputClosed();
  throw JobError({.what = "cannot write to standard output", .got = std::strerror(error)});
}

}  // namespace

void write_output(std::string_view text) {
  errno = 0;
  bool whole = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  if (!whole || std::fflush(stdout) != 0) fail(errno);
}

void write_json(const OrderedJson& json) {
  write_output(json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace) + "\n");
}

void flush_output() {
  errno = 0;
  if (std::fflush(stdout) != 0 || std::ferror(stdout)) fail(errno);
}

}  // namespace tandem::app
