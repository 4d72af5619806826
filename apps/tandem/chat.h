// generate as a conversation: turns typed at a terminal, or lines of standard input.
#pragma once

#include "generate_options.h"

namespace tandem::app {

// --interactive, or --chat without anything else that says what is to be answered.
bool is_conversation(const GenerateOptions& options);

// Until the input ends; the exit code.
int run_conversation(const GenerateOptions& options, const ReadOptions& read);

}  // namespace tandem::app
