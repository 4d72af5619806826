// What a packed row looks like: for a terminal, and as a page.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "formats/html.h"
#include "text/batch.h"
#include "text/tokenizer.h"

namespace tandem::app {

struct TokenView {
  int32_t id = 0;
  std::string text;  // UTF-8; bytes that are no character by themselves are U+FFFD
  bool special = false;
  int32_t position = 0;
  int32_t segment = 0;
  Role role = Role::text;
  int32_t label = kIgnoreLabel;
  bool opens_document = false;  // not the first of the row
  bool opens_block = false;
};

struct RowView {
  std::string source;  // empty: not known
  std::vector<TokenView> tokens;

  int64_t documents() const;
  int64_t labelled() const;
  int64_t padding() const;
  std::vector<int64_t> block_starts() const;  // inside the row
};

// What a decoder writes beside what it reads, when a batch has two sides.
struct SidesView {
  std::vector<TokenView> reads;
  std::vector<TokenView> writes;
};

std::string_view role_name(Role role);

// Row `row` of a prepared batch.
RowView view_row(const Batch& batch, int64_t row, const Tokenizer& tokenizer);
// Every block of a two-sided batch; empty for others.
std::vector<SidesView> view_sides(const Batch& batch, const Tokenizer& tokenizer);

// Without colour, tokens that are not predicted stand between the signs of the legend.
std::string legend(bool colour);
std::string to_text(std::span<const TokenView> tokens, bool colour);

void add_legend(HtmlPage& page);  // with the style of the tokens
void add_tokens(HtmlPage& page, std::span<const TokenView> tokens, const Tokenizer& tokenizer);

}  // namespace tandem::app
