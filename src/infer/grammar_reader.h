// Reads grammars in the notation of llama.cpp's GBNF files.
#pragma once

#include <string>
#include <string_view>

#include "infer/grammar.h"

namespace tandem {

// Rules `name ::= body`, one after another; `root` is the whole text. A body is made of
//
//   "text"  [a-z_]  [^a-z]  .     literals, one character of a set, outside it, any one
//   name                          another rule; letters, digits, - and _
//   ( a | b )                     groups and alternatives; an empty alternative is the empty text
//   a* a+ a? a{2} a{2,} a{2,5}    repetitions
//   # remark                      to the end of the line
//
// with \n \r \t \\ \" \[ \] \- \xHH \uHHHH \UHHHHHHHH in literals and sets. A body ends at the end of its line, unless
// a group is open or | stands at the end of the line or at the beginning of the next.
//
// InputError with line and column (`where`:line:column) for anything else, for a rule that is missing or defined twice,
// and for text that is not UTF-8.
Grammar read_grammar(std::string_view text, const std::string& where);

}  // namespace tandem
