// Where the Unicode versions of the reference library (tokenizers 0.23) and of the installed utf8proc part. The
// library's normal forms know Unicode 9, its patterns Unicode 16, its lower case Unicode 17.
#pragma once

#include <cstdint>

namespace tandem {

// Letters and numbers that came with Unicode 15.1 and 16.
bool is_new_letter(uint32_t code_point);
bool is_new_number(uint32_t code_point);

// The lower case of characters that came with Unicode 16 and 17; of any other, the character itself.
uint32_t lower_case_of_new(uint32_t code_point);

// Marks and characters with decompositions that came after Unicode 9: normal forms leave them alone and nothing
// combines across them.
bool is_unknown_to_normal_forms(uint32_t code_point);

}  // namespace tandem
