// JSON schemas (draft 2020-12) as grammars of the JSON text that satisfies them.
#pragma once

#include <string>
#include <string_view>

#include "infer/grammar.h"

namespace tandem {

// Keywords:
//   any           type (also a list), enum, const, anyOf, oneOf (when its schemas exclude each other), allOf of one
//                 schema, $ref into the document ("#...", also recursive); true and false as schemas
//   object        properties, required, additionalProperties
//   array         items, prefixItems, minItems, maxItems
//   string        minLength, maxLength, or pattern (infer/pattern.h)
//   number, integer  minimum, maximum, exclusiveMinimum, exclusiveMaximum with integer values
//
// Every text of the grammar satisfies the schema; not every text that satisfies the schema is in the grammar. Members
// stand in the order of `properties`, then come those that are only required, then additional ones, whose names have no
// escapes; objects with `properties` have additional members only where additionalProperties says so; enum and const
// are written as the schema writes them, without spaces; what may stand between tokens and how long numbers are says
// infer/json_text.h. Without `type`, the keywords given say which type is meant.
//
// Titles, descriptions, formats, defaults and unknown keywords are ignored. InputError with the place in the schema
// (`where`: #/properties/name) for keywords that would have to be ignored though they exclude texts, and for schemas
// that are malformed or contradict themselves.
Grammar read_json_schema(std::string_view text, const std::string& where);

}  // namespace tandem
