// How near a written answer is to the expected one.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tandem {

// Runs of letters and digits of valid UTF-8 text, in lower case: what the scores below compare. Punctuation and the
// amount of white space do not count.
std::vector<std::string> match_words(std::string_view text);

// The same words in the same order.
bool exact_match(const std::vector<std::string>& written, const std::vector<std::string>& expected);

// Harmonic mean of precision and recall over words as multisets (Rajpurkar et al. 2016, SQuAD), 0..1; 1 when both are
// empty, 0 when one is.
double word_f1(const std::vector<std::string>& written, const std::vector<std::string>& expected);

// ROUGE-L (Lin 2004): the same mean over the longest common subsequence of words.
double rouge_l(const std::vector<std::string>& written, const std::vector<std::string>& expected);

}  // namespace tandem
