// Regular expressions of JSON schemas ("pattern") as parts of a grammar.
#pragma once

#include <string>
#include <string_view>

#include "infer/json_text.h"

namespace tandem {

// The content of a JSON string, without its quotes, that the pattern matches. The syntax is ECMAScript's with the u
// flag, without what is not regular or looks around: literals, . [sets] \d \w \s \D \W \S, groups, |, * + ? {m,n} (also
// with a ? behind them, which changes nothing), and ^ $ at the beginning and the end of an alternative of the whole
// pattern. Without them anything may stand in front and behind. InputError naming `where` and the character's place for
// all else.
Grammar::Expression read_pattern(std::string_view pattern, const std::string& where, Grammar& grammar, JsonText& json);

}  // namespace tandem
