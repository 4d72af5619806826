// Errors that reach the user as one clear line: what, where, got, expected, hint.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>

namespace tandem {

// The five parts of a message. Leave a part empty when it does not apply.
struct Problem {
  std::string what;      // "unknown key"
  std::string where;     // "configs/tiny.toml:12" or "tensor 'embedding.weight' of model.safetensors"
  std::string got;       // "'stepz'"
  std::string expected;  // "one of the keys of [train]"
  std::string hint;      // "did you mean 'steps'?"
};

// "what: where: got G, expected E; hint" on one line; control characters and line breaks are escaped, and the parts
// are cut at 400 bytes, so that hostile input cannot flood a terminal.
std::string one_line(const Problem& problem);

// Wrong usage or wrong input: the program ends with exit code 2.
class InputError : public std::runtime_error {
 public:
  explicit InputError(const Problem& problem) : std::runtime_error(one_line(problem)) {}
};

// A job that was asked for correctly and could not be done (disk full, check failed): exit code 1.
class JobError : public std::runtime_error {
 public:
  explicit JobError(const Problem& problem) : std::runtime_error(one_line(problem)) {}
};

// Broken promise between parts of the program: a bug, not the user's fault. Exit code 1.
class LogicError : public std::logic_error {
 public:
  explicit LogicError(const Problem& problem) : std::logic_error(one_line(problem)) {}
};

}  // namespace tandem
