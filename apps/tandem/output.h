// Results on standard output, which may be closed by whoever reads it.
#pragma once

#include <stdexcept>
#include <string_view>

#include "base/json_fwd.h"

namespace tandem::app {

// Nobody reads standard output any more (a closed pipe): the program ends without a word, exit code 1.
class OutputClosed : public std::runtime_error {
 public:
  OutputClosed() : std::runtime_error("standard output was closed") {}
};

// Writes and flushes. OutputClosed, or JobError with the system's reason (disk full).
void write_output(std::string_view text);

// One JSON object and a line break. Text that is not UTF-8 is replaced by U+FFFD.
void write_json(const OrderedJson& json);

// Flushes what others have written with stdio; errors as above.
void flush_output();

}  // namespace tandem::app
