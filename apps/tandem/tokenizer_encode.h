// tandem tokenizer encode: one text, or a corpus on several threads.
#pragma once

#include "verbs.h"

namespace tandem::app {

void add_tokenizer_encode(CLI::App& verb, Action& action);

}  // namespace tandem::app
