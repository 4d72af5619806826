#include "output.h"

#include <unistd.h>

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

// Past the buffers of stdio, which cannot say what of a write that a signal ended is still to be written.
void write_output(std::string_view text) {
  flush_output();
  while (!text.empty()) {
    ssize_t written = ::write(STDOUT_FILENO, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;  // Ctrl-C stops what is being done, not what was done
    if (written < 0) fail(errno);
    text.remove_prefix(static_cast<size_t>(written));
  }
}

void write_json(const OrderedJson& json) {
  write_output(json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace) + "\n");
}

void flush_output() {
  errno = 0;
  while (std::fflush(stdout) != 0 && errno == EINTR) std::clearerr(stdout);
  if (std::ferror(stdout)) fail(errno);
}

}  // namespace tandem::app
